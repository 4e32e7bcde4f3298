// A mask at its image's own size: one byte a pixel, 0 or 1, and nothing else can get in. No antialiasing, no colours.
// Every change is one step of undo, which keeps the tiles as they were.
const TILE = 256;
const MOST_STEPS = 200;
const MOST_KEPT = 192 << 20;  // bytes of undo

class Mask {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height);
    this.across = Math.ceil(width / TILE);
    this.count = 0;  // set pixels
    this.done = [];
    this.undone = [];
    this.kept = 0;
    this.step = null;
    this.dirty = new Set();  // tiles that are to be drawn again
  }

  get isEmpty() { return this.count === 0; }

  // Steps. Everything between begin() and end() is taken back together.

  begin() { this.step = new Map(); }

  end() {
    const step = this.step;
    this.step = null;
    if (!step || step.size === 0) return false;
    this.done.push(step);
    this.undone.forEach((one) => { this.kept -= one.size * TILE * TILE; });
    this.undone = [];
    this.kept += step.size * TILE * TILE;
    while (this.done.length > MOST_STEPS || (this.kept > MOST_KEPT && this.done.length > 1)) {
      this.kept -= this.done.shift().size * TILE * TILE;
    }
    return true;
  }

  undo() { return this._swap(this.done, this.undone); }

  redo() { return this._swap(this.undone, this.done); }

  _swap(from, to) {
    const step = from.pop();
    if (!step) return false;
    const other = new Map();
    for (const [tile, pixels] of step) {
      other.set(tile, this._read(tile));
      this._write(tile, pixels);
    }
    to.push(other);
    return true;
  }

  bounds(tile) {
    const left = (tile % this.across) * TILE, top = Math.floor(tile / this.across) * TILE;
    return [left, top, Math.min(TILE, this.width - left), Math.min(TILE, this.height - top)];
  }

  _read(tile) {
    const [left, top, width, height] = this.bounds(tile);
    const pixels = new Uint8Array(width * height);
    for (let row = 0; row < height; row++) {
      const from = (top + row) * this.width + left;
      pixels.set(this.data.subarray(from, from + width), row * width);
    }
    return pixels;
  }

  _write(tile, pixels) {
    const [left, top, width, height] = this.bounds(tile);
    for (let row = 0; row < height; row++) {
      const to = (top + row) * this.width + left;
      for (let x = 0; x < width; x++) this.count += pixels[row * width + x] - this.data[to + x];
      this.data.set(pixels.subarray(row * width, (row + 1) * width), to);
    }
    this.dirty.add(tile);
  }

  // Everything is drawn with this: pixels x0 <= x < x1 of a row become `value`.
  span(y, x0, x1, value) {
    if (y < 0 || y >= this.height) return;
    x0 = Math.max(0, x0);
    x1 = Math.min(this.width, x1);
    if (x0 >= x1) return;
    const base = y * this.width, row = Math.floor(y / TILE) * this.across;
    for (let tile = Math.floor(x0 / TILE); tile * TILE < x1; tile++) {
      const from = base + Math.max(x0, tile * TILE), to = base + Math.min(x1, (tile + 1) * TILE);
      let changed = 0;
      for (let at = from; at < to; at++) changed += this.data[at] !== value;
      if (!changed) continue;
      if (this.step && !this.step.has(row + tile)) this.step.set(row + tile, this._read(row + tile));
      this.data.fill(value, from, to);
      this.count += value ? changed : -changed;
      this.dirty.add(row + tile);
    }
  }

  // A round brush of `size` pixels drawn from one point to another: every pixel whose centre it covers. An odd brush is
  // centred on a pixel, an even one on a corner, so that size 1 is exactly the pixel under the pointer.
  stroke(ax, ay, bx, by, size, value) {
    const snap = (at) => (size % 2 ? Math.floor(at) + 0.5 : Math.round(at));
    [ax, ay, bx, by] = [snap(ax), snap(ay), snap(bx), snap(by)];
    const radius = size / 2, length = Math.hypot(bx - ax, by - ay);
    const nx = length ? (ay - by) / length * radius : 0, ny = length ? (bx - ax) / length * radius : 0;
    const corners = [[ax + nx, ay + ny], [bx + nx, by + ny], [bx - nx, by - ny], [ax - nx, ay - ny]];
    for (let y = Math.floor(Math.min(ay, by) - radius); y <= Math.max(ay, by) + radius; y++) {
      const cy = y + 0.5;
      let low = Infinity, high = -Infinity;
      for (const [px, py] of [[ax, ay], [bx, by]]) {
        const half = radius * radius - (cy - py) * (cy - py);
        if (half < 0) continue;
        low = Math.min(low, px - Math.sqrt(half));
        high = Math.max(high, px + Math.sqrt(half));
      }
      for (let k = 0; length && k < 4; k++) {
        const [px, py] = corners[k], [qx, qy] = corners[(k + 1) % 4];
        if ((py <= cy) === (qy <= cy)) continue;
        const x = px + (cy - py) * (qx - px) / (qy - py);
        low = Math.min(low, x);
        high = Math.max(high, x);
      }
      if (low <= high) this.span(y, Math.ceil(low - 0.5 - 1e-9), Math.floor(high - 0.5 + 1e-9) + 1, value);
    }
  }

  // The pixels whose centres lie inside of a closed polygon (even-odd rule), and those on its corners.
  polygon(points, value) {
    const rows = points.map((point) => point[1]);
    for (let y = Math.max(0, Math.floor(Math.min(...rows))); y <= Math.min(this.height - 1, Math.max(...rows)); y++) {
      const cy = y + 0.5, crossings = [];
      points.forEach(([px, py], k) => {
        const [qx, qy] = points[(k + 1) % points.length];
        if ((py <= cy) !== (qy <= cy)) crossings.push(px + (cy - py) * (qx - px) / (qy - py));
      });
      crossings.sort((a, b) => a - b);
      for (let k = 0; k + 1 < crossings.length; k += 2) {
        this.span(y, Math.ceil(crossings[k] - 0.5), Math.ceil(crossings[k + 1] - 0.5), value);
      }
    }
    for (const [x, y] of points) this.span(Math.floor(y), Math.floor(x), Math.floor(x) + 1, value);
  }

  // This pixel and all that are joined to it by their sides and have its value get another value.
  fill(x, y, value) {
    const {width, height, data} = this;
    if (x < 0 || y < 0 || x >= width || y >= height || data[y * width + x] === value) return;
    const old = 1 - value, todo = [[x, y]];
    while (todo.length) {
      const [cx, cy] = todo.pop(), base = cy * width;
      if (data[base + cx] !== old) continue;
      // indexOf is the browser's own code: a few times quicker over 24 million pixels than loops here.
      const left = data.subarray(base, base + cx).lastIndexOf(value) + 1;
      const end = data.subarray(base + cx, base + width).indexOf(value), right = end < 0 ? width : cx + end;
      this.span(cy, left, right, value);
      for (const ny of [cy - 1, cy + 1]) {
        if (ny < 0 || ny >= height) continue;
        const row = data.subarray(ny * width + left, ny * width + right);
        for (let k = row.indexOf(old); k >= 0;) {  // one pixel of every run
          todo.push([left + k, ny]);
          const stop = row.indexOf(value, k);
          k = stop < 0 ? -1 : row.indexOf(old, stop);
        }
      }
    }
  }

  // Runs of set pixels, row by row: start, length, start, length, ... as the server writes them.

  setRuns(runs) {
    this.clear();
    for (let k = 0; k + 1 < runs.length; k += 2) {
      let at = runs[k];
      const end = Math.min(at + runs[k + 1], this.data.length);
      while (at < end) {
        const y = Math.floor(at / this.width), stop = Math.min(end, (y + 1) * this.width);
        this.span(y, at - y * this.width, stop - y * this.width, 1);
        at = stop;
      }
    }
  }

  clear() {
    for (let y = 0; y < this.height && this.count; y++) this.span(y, 0, this.width, 0);
  }

  runs() {
    const runs = [], {data} = this;
    for (let at = data.indexOf(1); at >= 0; at = data.indexOf(1, at)) {
      let end = data.indexOf(0, at);
      if (end < 0) end = data.length;
      runs.push(at, end - at);
      at = end;
    }
    return runs;
  }

  // The mask as a PNG of one bit a pixel, made here byte by byte: what a browser's canvas writes has gone through
  // colours and transparency. Resolves to its bytes.
  async toPNG() {
    const {width, height, data} = this, bytes = Math.ceil(width / 8);
    const rows = new Uint8Array((bytes + 1) * height);  // each row begins with its filter, 0: none
    for (let at = data.indexOf(1); at >= 0;) {
      const y = Math.floor(at / width), from = y * width, to = y * (bytes + 1) + 1;
      for (let x = at - from; x < width; x++) if (data[from + x]) rows[to + (x >> 3)] |= 128 >> (x & 7);
      at = data.indexOf(1, from + width);
    }
    const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream('deflate'));
    const header = new Uint8Array(13), view = new DataView(header.buffer);
    view.setUint32(0, width);
    view.setUint32(4, height);
    header[8] = 1;  // bits; the rest 0: grey, deflate, no filter, no interlace
    const parts = [new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', header),
      chunk('IDAT', new Uint8Array(await new Response(packed).arrayBuffer())), chunk('IEND', new Uint8Array(0))];
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }
}

const CRC = Uint32Array.from({length: 256}, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function chunk(kind, content) {
  const whole = new Uint8Array(content.length + 12), view = new DataView(whole.buffer);
  view.setUint32(0, content.length);
  whole.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  whole.set(content, 8);
  let crc = 0xffffffff;
  for (let at = 4; at < content.length + 8; at++) crc = CRC[(crc ^ whole[at]) & 255] ^ (crc >>> 8);
  view.setUint32(content.length + 8, (crc ^ 0xffffffff) >>> 0);
  return whole;
}
