// What is seen: the picture, the heatmap, the proposed mask and the painted one, zoomed and moved. The mask itself has the
// image's own size; what is drawn here has the screen's, so that an image of 24 megapixels costs no more than a small one.
const MOST_ZOOM = 40;  // screen pixels for one of the image
const PAINTED = [213, 94, 0, 150], PROPOSED = [86, 180, 233, 120];  // the page's colours of defects and of held-out images

// A mask as tiles that can be drawn, made when they are first seen and again when they changed.
class Layer {
  constructor(colour) {
    this.colour = colour;
    this.mask = null;
    this.tiles = new Map();
    this.full = null;  // the tile in which everything is set
  }

  show(mask) {
    this.mask = mask;
    this.tiles.clear();
    mask?.dirty.clear();
  }

  draw(context, region) {
    const {mask} = this;
    if (!mask) return;
    for (const tile of mask.dirty) this.tiles.delete(tile);
    mask.dirty.clear();
    if (mask.isEmpty) return;
    const [x0, y0, x1, y1] = region.map((side) => Math.floor(side / TILE));
    for (let row = Math.max(0, y0); row <= y1 && row * TILE < mask.height; row++) {
      for (let column = Math.max(0, x0); column <= x1 && column < mask.across; column++) {
        const tile = row * mask.across + column;
        if (!this.tiles.has(tile)) this.tiles.set(tile, this._make(tile));
        const picture = this.tiles.get(tile);
        if (picture) context.drawImage(picture, column * TILE, row * TILE);
      }
    }
  }

  _make(tile) {
    const pixels = this.mask._read(tile);
    if (pixels.indexOf(1) < 0) return null;
    const [, , width, height] = this.mask.bounds(tile);
    const isFull = pixels.indexOf(0) < 0 && width === TILE && height === TILE;
    if (isFull && this.full) return this.full;  // a filled picture of 24 megapixels has hundreds of these
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext('2d'), image = context.createImageData(width, height);
    const ink = new Uint32Array(image.data.buffer), [r, g, b, a] = this.colour;
    const colour = new Uint32Array(new Uint8Array([r, g, b, a]).buffer)[0];
    for (let at = 0; at < pixels.length; at++) ink[at] = pixels[at] * colour;
    context.putImageData(image, 0, 0);
    if (isFull) this.full = canvas;
    return canvas;
  }
}

class Stage {
  constructor(box) {
    this.box = box;
    [this.below, this.above] = box.querySelectorAll('canvas');
    this.painted = new Layer(PAINTED);
    this.proposed = new Layer(PROPOSED);
    this.size = null;  // [width, height] of the image
    this.heatShown = true;
    this.proposalShown = true;
    this.opacity = 0.6;
    this.outline = null;  // of a tool: draws what is not in the mask yet
    this.onView = () => {};
    new ResizeObserver(() => this._resize()).observe(box);
    this._resize();
  }

  show(item) {
    const changed = !this.size || this.size[0] !== item.width || this.size[1] !== item.height;
    this.size = [item.width, item.height];
    this.picture = item.bitmap;
    this.heat = item.heat ?? null;
    this.proposed.show(item.proposed ?? null);
    this.painted.show(item.mask);
    if (changed || !this.isFitted) this.fit();
    this.redraw(true);
    this.drawNow();
  }

  clear() {
    this.size = this.picture = this.heat = null;
    this.proposed.show(null);
    this.painted.show(null);
    this.redraw(true);
  }

  // View: a point p of the image is shown at p * scale + offset, in CSS pixels of the box.

  get fitScale() { return Math.min(this.width / this.size[0], this.height / this.size[1]); }

  get isFitted() { return !this.size || Math.abs(this.scale - this.fitScale) < 1e-6 * this.scale; }

  fit() {
    if (!this.size) return;
    this.scale = this.fitScale;
    this._place();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    if (!this.size) return;
    const scale = Math.min(Math.max(this.scale * factor, this.fitScale), Math.max(MOST_ZOOM, this.fitScale));
    const at = this.toImage(x, y);
    this.scale = scale;
    this.offset = [x - at[0] * scale, y - at[1] * scale];
    this._place();
  }

  pan(dx, dy) {
    if (!this.size) return;
    this.offset = [this.offset[0] + dx, this.offset[1] + dy];
    this._place();
  }

  toImage(x, y) { return [(x - this.offset[0]) / this.scale, (y - this.offset[1]) / this.scale]; }

  _place() {
    const room = [this.width, this.height];
    this.offset = [0, 1].map((k) => {
      const side = this.size[k] * this.scale;
      if (side <= room[k]) return (room[k] - side) / 2;
      return Math.min(0, Math.max(room[k] - side, (this.offset ?? [0, 0])[k]));
    });
    this.redraw(true);
    this.onView();
  }

  _resize() {
    const fitted = this.isFitted, ratio = devicePixelRatio || 1;
    [this.width, this.height] = [Math.max(1, this.box.clientWidth), Math.max(1, this.box.clientHeight)];
    for (const canvas of [this.below, this.above]) {
      canvas.width = Math.round(this.width * ratio);
      canvas.height = Math.round(this.height * ratio);
    }
    if (!this.size) return;
    if (fitted) this.fit();
    else this.zoom(1);
    this.drawNow();
  }

  // Drawing, at most once a frame; the picture below only when the view has changed.

  redraw(all = false) {
    this.all = this.all || all;
    if (this.waits) return;
    this.waits = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    if (this.waits) cancelAnimationFrame(this.waits);
    this.waits = 0;
    if (this.all) this._drawBelow();
    this.all = false;
    const context = this._begin(this.above);
    if (!this.size) return;
    const region = [...this.toImage(0, 0), ...this.toImage(this.width, this.height)];
    if (this.proposalShown) this.proposed.draw(context, region);
    this.painted.draw(context, region);
    this.outline?.(context, this.scale);
  }

  _drawBelow() {
    const context = this._begin(this.below);
    if (!this.size || !this.picture) return;
    const [width, height] = this.size;
    context.imageSmoothingEnabled = this.scale < 4;
    context.drawImage(this.picture, 0, 0, width, height);
    if (!this.heatShown || !this.heat) return;
    context.imageSmoothingEnabled = true;
    context.globalAlpha = this.opacity;
    context.drawImage(this.heat, 0, 0, width, height);
    context.globalAlpha = 1;
  }

  _begin(canvas) {
    const context = canvas.getContext('2d'), ratio = canvas.width / this.width;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.size) return context;
    const scale = this.scale * ratio;
    context.setTransform(scale, 0, 0, scale, this.offset[0] * ratio, this.offset[1] * ratio);
    context.imageSmoothingEnabled = this.scale < 1;
    return context;
  }
}
