// Photo, heatmap and outline become one picture in the browser: opacity, outline and threshold take no picture from the
// server. `element`, `watch` and `props` come from the component; its value: `altub.ui.inspect.blend.blend_value`.
// What is drawn is what `altub.plots.overlay` draws: colours fixed by the model, transparent where parts are normal.
const FADE_START = 0.15, FADE_END = 0.55;  // as in altub.plots.overlays
const MOST_LINES = 300;
const heats = new Map();  // address of a map and its colours -> {canvas, values, width, height}
let given = null, last = '', turn = 0;

const images = () => [...document.querySelectorAll('#inspect-slider img')];

async function picture(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

// The map, 16 bits in red and green, as values and as colours with the transparency of opacity 1.
async function heat(value) {
  const key = value.map + value.colours + value.colour_low + value.colour_high;
  if (heats.has(key)) return heats.get(key);
  const file = await picture(value.map);
  const [width, height] = [file.naturalWidth, file.naturalHeight];
  const canvas = Object.assign(document.createElement('canvas'), {width, height});
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(file, 0, 0);
  const pixels = context.getImageData(0, 0, width, height), data = pixels.data;
  const values = new Float32Array(width * height), colours = atob(value.colours);
  const unit = (value.high - value.low) / 65535, spread = 255 / (value.colour_high - value.colour_low);
  for (let k = 0, at = 0; k < values.length; k += 1, at += 4) {
    values[k] = value.low + unit * (256 * data[at] + data[at + 1]);
    const level = Math.min(255, Math.max(0, Math.floor((values[k] - value.colour_low) * spread + 0.5)));
    const share = Math.min(1, Math.max(0, (level / 255 - FADE_START) / (FADE_END - FADE_START)));
    for (let c = 0; c < 3; c += 1) data[at + c] = colours.charCodeAt(3 * level + c);
    data[at + 3] = 255 * share * share * (3 - 2 * share);
  }
  context.putImageData(pixels, 0, 0);
  const made = {canvas, values, width, height};
  if (heats.size > 24) heats.delete(heats.keys().next().value);
  heats.set(key, made);
  return made;
}

// Lines where the map crosses a value (marching squares), joined to paths, in pixels of the map.
function outlines({values, width, height}, line) {
  const starts = new Map(), ends = new Map(), paths = new Set();
  const at = (a, b) => (line - a) / (b - a);
  const join = (from, to) => {
    const before = ends.get(from[2]), after = starts.get(to[2]);
    if (before) ends.delete(from[2]);
    if (after) starts.delete(to[2]);
    if (before && before === after) before.push(to);  // closed
    else if (before && after) {
      for (const point of after) before.push(point);
      paths.delete(after);
      ends.set(after.at(-1)[2], before);
    } else if (before) { before.push(to); ends.set(to[2], before); }
    else if (after) { after.unshift(from); starts.set(from[2], after); }
    else {
      const path = [from, to];
      paths.add(path);
      starts.set(from[2], path);
      ends.set(to[2], path);
    }
  };
  for (let y = 0; y + 1 < height; y += 1) {
    for (let x = 0; x + 1 < width; x += 1) {
      const k = y * width + x;
      const a = values[k], b = values[k + 1], c = values[k + width + 1], d = values[k + width];
      const kind = (a > line) + 2 * (b > line) + 4 * (c > line) + 8 * (d > line);
      if (kind === 0 || kind === 15) continue;
      const top = () => [x + at(a, b), y, 2 * k], right = () => [x + 1, y + at(b, c), 2 * k + 3];
      const bottom = () => [x + at(d, c), y + 1, 2 * (k + width)], left = () => [x, y + at(a, d), 2 * k + 1];
      // The high side is on the right of each piece, so that pieces join head to tail.
      const pieces = {1: [[left, top]], 2: [[top, right]], 3: [[left, right]], 4: [[right, bottom]], 6: [[top, bottom]],
        5: [[left, top], [right, bottom]], 7: [[left, bottom]], 8: [[bottom, left]], 9: [[bottom, top]],
        10: [[top, right], [bottom, left]], 11: [[bottom, right]], 12: [[right, left]], 13: [[right, top]],
        14: [[top, left]]}[kind];
      for (const [from, to] of pieces) join(from(), to());
    }
  }
  return [...paths].sort((one, other) => other.length - one.length).slice(0, MOST_LINES);
}

function outlinePath(map, line, width, height) {
  const path = new Path2D(), [x, y] = [width / map.width, height / map.height];
  for (const points of outlines(map, line)) {
    points.forEach((point, k) => path[k ? 'lineTo' : 'moveTo']((point[0] + 0.5) * x, (point[1] + 0.5) * y));
  }
  return path;
}

const opacity = () => Number(document.querySelector('#inspect-opacity input[type=range]')?.value ?? given.opacity);
const contour = () => document.querySelector('#inspect-contour input')?.checked ?? given.contour;

async function draw() {
  const mine = turn += 1, value = given;
  if (!value?.map) return;
  const [photo, map] = await Promise.all([picture(value.photo), heat(value)]);
  if (mine !== turn) return;
  const [width, height] = [photo.naturalWidth, photo.naturalHeight];
  const canvas = Object.assign(document.createElement('canvas'), {width, height});
  const context = canvas.getContext('2d');
  context.drawImage(photo, 0, 0);
  context.imageSmoothingQuality = 'high';
  context.globalAlpha = opacity();
  context.drawImage(map.canvas, 0, 0, width, height);
  context.globalAlpha = 1;
  if (contour() && value.line !== null) {
    map.paths ??= new Map();
    const key = `${value.line} ${width}`;
    if (!map.paths.has(key)) map.paths.set(key, outlinePath(map, value.line, width, height));
    const stroke = Math.max(1.2, 2 * Math.min(width, height) / 1000);
    context.lineJoin = 'round';
    for (const [grow, colour] of [[2.4, 'rgb(0 0 0 / 59%)'], [1, 'white']]) {
      context.lineWidth = stroke * grow;
      context.strokeStyle = colour;
      context.stroke(map.paths.get(key));
    }
  }
  for (const {kind, points} of value.regions ?? []) {  // dashed: the limits of what is looked at
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x * width, y * height);
    context.closePath();
    context.setLineDash([width / 90, width / 150]);
    context.lineWidth = Math.max(1.2, 1.5 * Math.min(width, height) / 1000);
    for (const [colour, offset] of [['rgb(0 0 0 / 60%)', width / 90], [kind === 'ignore' ? '#c8c8c8' : 'white', 0]]) {
      context.strokeStyle = colour;
      context.lineDashOffset = offset;
      context.stroke();
    }
    context.setLineDash([]);
  }
  const file = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.92));
  if (mine !== turn) return;
  const before = last;
  last = URL.createObjectURL(file);
  place();
  if (before) setTimeout(() => URL.revokeObjectURL(before), 1000);
}

// The right half of the picture. Gradio puts the photo there whenever another image is shown.
function place() {
  const target = images()[1];
  if (!target || !last || target.src === last) return;
  target.src = last;
  element.dispatchEvent(new CustomEvent('blended', {bubbles: true, detail: given.photo}));
}

let frame = 0;
const soon = () => {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => draw().catch(() => {}));
};
for (const type of ['input', 'change']) {
  document.addEventListener(type, (event) => {
    // Not by a part of the page that was made anew meanwhile.
    if (element.isConnected && event.target.closest?.('#inspect-opacity, #inspect-contour')) soon();
  });
}
const observer = new MutationObserver(() => { if (images()[1] && !images()[1].src.startsWith('blob:')) place(); });
(function observe(tries) {
  const slider = document.querySelector('#inspect-slider');
  if (!slider) {  // it may be made after this
    if (tries) setTimeout(observe, 50, tries - 1);
    return;
  }
  observer.observe(slider, {subtree: true, childList: true, attributes: true, attributeFilter: ['src']});
  place();
})(400);

function take() {
  if (props.value?.photo !== given?.photo) last = '';  // nothing of another image is shown
  given = props.value;
  soon();
}
watch('value', take);
take();
