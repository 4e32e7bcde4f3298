// Regions drawn over a good image: boxes and polygons to inspect or to ignore. The text field of the setting holds them
// as JSON in fractions of the image; this reads and writes it. `element`, `watch` and `props` come from the component.
const root = element.querySelector('.regions');
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const svg = part('drawing'), SVG = 'http://www.w3.org/2000/svg';
const WORDS = {inspect: 'Inspect', ignore: 'Ignore'};
const state = {text: null, regions: [], kind: 'ignore', shape: 'box', points: [], from: null};

const field = () => document.querySelector('#train-regions textarea, #train-regions input');
const round = (value) => Math.round(1e4 * Math.min(1, Math.max(0, value))) / 1e4;

function write() {
  const target = field();
  if (!target) return;
  state.text = state.regions.length ? JSON.stringify(state.regions) : '';
  target.value = state.text;
  target.dispatchEvent(new Event('input', {bubbles: true}));
  draw();
}

function read() {
  const text = field()?.value ?? '';
  if (text === state.text) return;
  state.text = text;
  try {
    const found = text.trim() && text.trim() !== 'none' ? JSON.parse(text) : [];
    state.regions = found.filter((one) => WORDS[one.kind] && Array.isArray(one.points));
  } catch { state.regions = []; }
  draw();
}

function polygon(points, kind, drawing = false) {
  const made = document.createElementNS(SVG, drawing ? 'polyline' : 'polygon');
  made.setAttribute('points', points.map(([x, y]) => `${1000 * x},${1000 * y}`).join(' '));
  if (kind === 'ignore') Object.assign(made.style, {stroke: '#111', fill: 'rgb(20 20 24 / 55%)'});
  if (drawing) made.style.strokeDasharray = '5 4';
  return made;
}

const area = (points) => Math.abs(points.reduce((sum, [x, y], k) => {
  const [u, v] = points[(k + 1) % points.length];
  return sum + x * v - u * y;
}, 0)) / 2;

function draw() {
  const made = state.regions.map(({points, kind}) => polygon(points, kind));
  if (state.points.length) made.push(polygon(state.points, state.kind, true));
  svg.replaceChildren(...made);
  part('list').replaceChildren(...state.regions.map(({points, kind}, k) => {
    const line = document.createElement('li'), remove = document.createElement('button');
    Object.assign(remove, {type: 'button', textContent: 'Remove'});
    remove.dataset.remove = k;
    remove.setAttribute('aria-label', `Remove region ${k + 1}`);
    line.append(`${WORDS[kind]}: ${(100 * area(points)).toFixed(1)} % of the image `, remove);
    return line;
  }));
  for (const button of root.querySelectorAll('[data-kind], [data-shape]')) {
    const on = button.dataset.kind ? button.dataset.kind === state.kind : button.dataset.shape === state.shape;
    button.setAttribute('aria-pressed', String(on));
  }
}

function place(event) {
  const box = svg.getBoundingClientRect();
  return [round((event.clientX - box.left) / box.width), round((event.clientY - box.top) / box.height)];
}

function add(points) {
  state.points = [];
  if (points.length >= 3 && area(points) > 1e-5) {
    state.regions = [...state.regions, {kind: state.kind, points}];
    write();
  } else draw();
}

const box = ([x, y], [u, v]) => [[x, y], [u, y], [u, v], [x, v]];
svg.addEventListener('pointerdown', (event) => {
  if (event.button) return;
  event.preventDefault();
  const at = place(event);
  if (state.shape === 'box') {
    state.from = at;
    svg.setPointerCapture(event.pointerId);
    return;
  }
  const [first] = state.points, frame = svg.getBoundingClientRect();
  const near = first && Math.hypot((at[0] - first[0]) * frame.width, (at[1] - first[1]) * frame.height) < 12;
  if (near && state.points.length >= 3) add(state.points);
  else {
    state.points = [...state.points, at];
    draw();
  }
});
svg.addEventListener('pointermove', (event) => {
  if (!state.from) return;
  state.points = [...box(state.from, place(event)), state.from];
  draw();
});
svg.addEventListener('pointerup', (event) => {
  if (!state.from) return;
  const from = state.from;
  state.from = null;
  add(box(from, place(event)));
});
svg.addEventListener('dblclick', () => { if (state.shape === 'polygon') add(state.points); });
element.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && state.points.length) { state.points = []; state.from = null; draw(); }
  if (event.key === 'Enter' && state.shape === 'polygon' && event.target === svg) add(state.points);
});
element.addEventListener('click', (event) => {
  const {kind, shape, remove, clear} = event.target.closest('button')?.dataset ?? {};
  if (kind) state.kind = kind;
  if (shape) { state.shape = shape; state.points = []; }
  if (remove !== undefined) { state.regions = state.regions.filter((_, k) => k !== Number(remove)); write(); }
  if (clear !== undefined) { state.regions = []; write(); }
  draw();
});

function take() {
  const image = part('image'), address = props.value?.image ?? '';
  if (address) image.src = address; else image.removeAttribute('src');
  root.hidden = !address;
  read();
}
watch('value', take);
setInterval(() => { if (root.getClientRects().length) read(); }, 400);  // another form was filled in
draw();
take();
