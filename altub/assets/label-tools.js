// Tools on the stage: what pointers and fingers do to a mask. One finger or the left button uses the tool; two fingers, the
// middle button or Space move the picture; Ctrl draws with the opposite value.
const TOOLS = ['move', 'brush', 'eraser', 'line', 'polygon', 'fill'];
const SIZES = [1, 400];  // pixels of the image
const CLOSE = 10;  // screen pixels within which a click on the first corner closes a polygon

class Tools {
  constructor(stage, changed) {
    this.stage = stage;
    this.changed = changed;  // called after every change of the mask, the tool or the size
    this.tool = 'move';
    this.size = 12;
    this.corners = [];
    this.pointers = new Map();
    this.at = null;  // of the pointer, in the image
    this.spaceHeld = false;
    stage.outline = (context, scale) => this._outline(context, scale);
    const {box} = stage;
    box.addEventListener('pointerdown', (event) => this._down(event));
    box.addEventListener('pointermove', (event) => this._move(event));
    for (const kind of ['pointerup', 'pointercancel']) box.addEventListener(kind, (event) => this._up(event));
    box.addEventListener('pointerleave', () => { this.at = null; stage.redraw(); });
    box.addEventListener('dblclick', () => this.closePolygon());
    box.addEventListener('contextmenu', (event) => { if (event.ctrlKey) event.preventDefault(); });
    box.addEventListener('wheel', (event) => this._wheel(event), {passive: false});
    this._style();
  }

  get mask() { return this.stage.painted.mask; }

  use(tool) {
    this.cancel();
    this.tool = tool;
    this._style();
    this.changed();
  }

  resize(size) {
    this.size = Math.min(Math.max(Math.round(size), SIZES[0]), SIZES[1]);
    this.stage.redraw();
    this.changed();
  }

  larger(by) {
    const step = Math.max(1, Math.round(this.size * 0.15));
    this.resize(this.size + by * step);
  }

  // A step on the whole mask.
  edit(work) {
    if (!this.mask) return;
    this.cancel();
    this.mask.begin();
    work(this.mask);
    this.mask.end();
    this.stage.redraw();
    this.changed();
  }

  undo() { return this._back('undo'); }

  redo() { return this._back('redo'); }

  _back(way) {
    if (this.corners.length) {
      this.corners.pop();
    } else if (!this.mask || this.drawing || !this.mask[way]()) {
      return false;
    }
    this.stage.redraw();
    this.changed();
    return true;
  }

  // Gives up what is not finished: a line, a polygon.
  cancel() {
    if (this.drawing) this.mask?.end();
    this.drawing = this.from = null;
    this.corners = [];
    this.stage.redraw();
  }

  closePolygon() {
    if (this.tool !== 'polygon' || this.corners.length < 3) return false;
    const corners = this.corners;
    this.corners = [];
    this.edit((mask) => mask.polygon(corners, this.value ?? 1));
    return true;
  }

  _point(event) {
    const box = this.stage.box.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  _style() {
    // At its normal size a finger on the picture scrolls the page, unless it draws.
    const free = this.tool === 'move' && this.stage.isFitted;
    this.stage.box.style.touchAction = free ? 'pan-y' : 'none';
    this.stage.box.dataset.tool = this.spaceHeld ? 'move' : this.tool;
  }

  _down(event) {
    if (!this.stage.size) return;
    this.stage.box.focus({preventScroll: true});
    this.pointers.set(event.pointerId, this._point(event));
    if (this.pointers.size === 2) {  // a pinch: what the first finger has begun is taken back
      if (this.drawing && this.mask.end()) { this.mask.undo(); this.mask.undone.pop(); }
      this.drawing = this.from = null;
      this.pinch = this._fingers();
    }
    try { this.stage.box.setPointerCapture(event.pointerId); } catch { /* the pointer is gone already */ }
    if (this.pointers.size > 1) return;
    const [x, y] = this.stage.toImage(...this._point(event));
    if (event.button === 1 || this.spaceHeld || (this.tool === 'move' && event.button === 0)) {
      this.panning = true;
      if (event.button === 1) event.preventDefault();
      return;
    }
    if (event.button !== 0 || !this.mask) return;
    event.preventDefault();
    const opposite = event.ctrlKey || event.metaKey;
    this.value = (this.tool === 'eraser') !== opposite ? 0 : 1;
    if (this.tool === 'fill') {
      this.edit((mask) => mask.fill(Math.floor(x), Math.floor(y), this.value));
    } else if (this.tool === 'polygon') {
      const [first] = this.corners;
      const near = first && Math.hypot(first[0] - x, first[1] - y) * this.stage.scale < CLOSE;
      if (near && this.corners.length > 2) this.closePolygon();
      else if (event.detail < 2 || !this.corners.length) this.corners.push([x, y]);
    } else if (this.tool === 'line') {
      this.from = [x, y];
    } else {
      this.mask.begin();
      this.drawing = [x, y];
      this.mask.stroke(x, y, x, y, this.size, this.value);
    }
    this.stage.redraw();
    this.changed();
  }

  _move(event) {
    const before = this.pointers.get(event.pointerId), now = this._point(event);
    if (before) this.pointers.set(event.pointerId, now);
    if (!this.stage.size) return;
    this.at = this.stage.toImage(...now);
    if (this.pointers.size === 2 && this.pinch) {
      const fingers = this._fingers();
      this.stage.zoom(fingers.apart / this.pinch.apart, ...this.pinch.middle);
      this.stage.pan(fingers.middle[0] - this.pinch.middle[0], fingers.middle[1] - this.pinch.middle[1]);
      this.pinch = fingers;
    } else if (before && this.panning) {
      this.stage.pan(now[0] - before[0], now[1] - before[1]);
    } else if (this.drawing) {
      const points = event.getCoalescedEvents?.() ?? [];
      for (const one of points.length ? points : [event]) {
        const to = this.stage.toImage(...this._point(one));
        this.mask.stroke(...this.drawing, ...to, this.size, this.value);
        this.drawing = to;
      }
    }
    if (this.tool !== 'move') this.stage.redraw();
  }

  _up(event) {
    const known = this.pointers.delete(event.pointerId);
    if (this.pointers.size < 2) this.pinch = null;
    if (!known || this.pointers.size) return;
    this.panning = false;
    this._style();
    if (this.drawing) {
      this.drawing = null;
      this.mask.end();
      this.changed();
    } else if (this.from) {
      const from = this.from, to = this.stage.toImage(...this._point(event));
      this.from = null;
      if (event.type === 'pointerup') this.edit((mask) => mask.stroke(...from, ...to, this.size, this.value));
    }
  }

  _fingers() {
    const [a, b] = [...this.pointers.values()];
    return {apart: Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1])), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]};
  }

  _wheel(event) {
    if (!this.stage.size) return;
    const turned = event.deltaY || event.deltaX;  // with Shift some systems turn the wheel sideways
    if (event.shiftKey) {
      if (this.tool !== 'move') this.larger(turned < 0 ? 1 : -1);
    } else if (event.ctrlKey || event.metaKey || !this.stage.isFitted) {
      this.stage.zoom(Math.exp(-turned * (event.deltaMode ? 0.05 : 0.0015)), ...this._point(event));
    } else {
      return;  // the page scrolls
    }
    event.preventDefault();
    this._style();
  }

  _outline(context, scale) {
    const thin = 1.5 / scale;
    const line = (draw) => {
      context.beginPath();
      draw();
      for (const [colour, width] of [['rgb(0 0 0 / .7)', 3 * thin], ['#fff', thin]]) {
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.stroke();
      }
    };
    if (this.from && this.at) {
      context.globalAlpha = 0.6;
      context.lineCap = 'round';
      context.lineWidth = this.size;
      context.strokeStyle = `rgb(${PAINTED.slice(0, 3)})`;
      context.beginPath();
      context.moveTo(...this.from);
      context.lineTo(...this.at);
      context.stroke();
      context.globalAlpha = 1;
    }
    if (this.corners.length) {
      line(() => {
        this.corners.forEach((corner, k) => (k ? context.lineTo(...corner) : context.moveTo(...corner)));
        if (this.at) context.lineTo(...this.at);
      });
      line(() => context.arc(...this.corners[0], CLOSE / 2 / scale, 0, 7));
    }
    if (this.at && !this.spaceHeld && ['brush', 'eraser', 'line'].includes(this.tool)) {
      line(() => context.arc(...this.at, this.size / 2, 0, 7));
    }
  }
}
