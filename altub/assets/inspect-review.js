// The batch beside the picture: filter, sort, search, step. `element`, `trigger`, `watch` and `props` come from the
// component. Its value is {"shown": number, "rows": [...]}, see `altub.ui.inspect.review.review_value`.
const root = element.querySelector('.review');
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const KINDS = [['all', 'All'], ['defect', 'Defects'], ['borderline', 'Borderline'], ['not comparable', 'Not comparable'],
  ['good', 'Good'], ['unreadable', 'Unreadable'], ['pending', 'Pending']];
const RANK = {defect: 0, borderline: 1, 'not comparable': 2, good: 3, unreadable: 4, pending: 5};
const state = {rows: [], shown: 0, kind: 'all', words: '', key: 'number', down: false};
const lines = new Map();  // number -> the row's elements, kept so that pictures are not loaded again

// Elements from words: nothing that a file is called becomes HTML.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const set = (node, name, value) => { if (node.getAttribute(name) !== value) node.setAttribute(name, value); };
const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const figure = (value, digits) => (value === null ? '' : value.toFixed(digits).replace('-', '−'));

// What is seen of the batch, in which order.

const value = (row) => (state.key === 'kind' ? RANK[row.kind] : row[state.key]);

function compare(one, other) {
  const [a, b] = [value(one), value(other)];
  if (a === null || b === null) return (a === null) - (b === null) || one.number - other.number;  // last, either way
  const order = typeof a === 'string' ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
  return (state.down ? -order : order) || one.number - other.number;
}

function visible() {
  const words = state.words.trim().toLowerCase();
  return state.rows
    .filter((row) => (state.kind === 'all' || row.kind === state.kind) && row.name.toLowerCase().includes(words))
    .sort(compare);
}

const readable = () => visible().filter((row) => row.score !== null);

// Drawing.

function line(number) {
  if (lines.has(number)) return lines.get(number);
  const picture = make('img', {alt: '', loading: 'lazy', width: '44', height: '44'});
  const name = make('span', {class: 'name'});
  const button = make('button', {type: 'button', class: 'pick', 'data-number': String(number)}, picture, name);
  const cells = {chip: make('td', {class: 'kind'}, make('span')), score: make('td', {class: 'figure'}),
    area: make('td', {class: 'figure'})};
  const made = {row: make('tr', {}, make('td', {class: 'image'}, button), ...Object.values(cells)), picture, name, button,
    cells};
  lines.set(number, made);
  return made;
}

function fill(row) {
  const drawn = line(row.number);
  if (row.thumb) set(drawn.picture, 'src', row.thumb);
  drawn.picture.hidden = !row.thumb;
  say(drawn.name, row.name);
  set(drawn.button, 'title', row.error || row.name);
  set(drawn.button, 'aria-label', `${row.name}: ${row.word}`);
  drawn.button.disabled = row.score === null;
  const chip = drawn.cells.chip.firstChild;
  set(chip, 'class', `chip ${row.chip}`);
  say(chip, row.word);
  say(drawn.cells.score, figure(row.score, 2));
  say(drawn.cells.area, row.area === null ? '' : `${figure(row.area, row.area > 0 && row.area < 1 ? 2 : 1)} %`);
  return drawn;
}

function draw() {
  const rows = visible(), body = part('rows');
  const wanted = rows.map((row) => fill(row).row);
  if (wanted.length !== body.children.length || wanted.some((row, place) => body.children[place] !== row)) {
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    body.replaceChildren(...wanted);
    if (focused?.isConnected) focused.focus({preventScroll: true});
  }
  part('none').hidden = rows.length > 0;
  for (const button of root.querySelectorAll('[data-kind]')) {
    const kind = button.dataset.kind;
    const count = kind === 'all' ? state.rows.length : state.rows.filter((row) => row.kind === kind).length;
    say(button.querySelector('b'), String(count));
    button.hidden = !count && !['all', 'defect', 'borderline', 'good'].includes(kind);
    set(button, 'aria-pressed', String(state.kind === kind));
  }
  for (const head of root.querySelectorAll('th')) {
    const key = head.querySelector('button').dataset.sort;
    set(head, 'aria-sort', key !== state.key ? 'none' : state.down ? 'descending' : 'ascending');
  }
  mark();
}

function mark() {
  const order = readable();
  const place = order.findIndex((row) => row.number === state.shown);
  const stop = place >= 0 ? state.shown : order[0]?.number;  // one stop for Tab, arrows within
  for (const [number, {row, button}] of lines) {
    row.classList.toggle('shown', number === state.shown);
    set(button, 'tabindex', number === stop ? '0' : '-1');
    if (number === state.shown) set(button, 'aria-current', 'true'); else button.removeAttribute('aria-current');
  }
  say(part('place'), order.length ? `${place < 0 ? '–' : place + 1} of ${order.length}` : '');
}

// Only the list scrolls, never the page.
function reveal() {
  const box = part('list'), row = lines.get(state.shown)?.row;
  if (!row?.isConnected) return;
  const head = box.querySelector('thead').offsetHeight;
  if (row.offsetTop < box.scrollTop + head) box.scrollTop = row.offsetTop - head;
  else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
}

// What a person does.

function pick(number, focus = false) {
  if (!number) return;
  const changed = number !== state.shown;
  state.shown = number;
  mark();
  reveal();
  if (focus) lines.get(number).button.focus({preventScroll: true});
  if (changed) trigger('pick', {number});
}

function step(by, focus = false) {
  const order = readable();
  if (!order.length) return;
  const place = order.findIndex((row) => row.number === state.shown);
  const next = place < 0 ? (by > 0 ? 0 : order.length - 1) : (place + by + order.length) % order.length;
  pick(order[next].number, focus);
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !root.contains(button)) {
    const row = event.target.closest('tbody tr');
    const inside = row?.querySelector('button.pick:not(:disabled)');
    if (inside) pick(Number(inside.dataset.number));
  } else if (button.dataset.number) pick(Number(button.dataset.number));
  else if (button.dataset.kind) {
    state.kind = state.kind === button.dataset.kind ? 'all' : button.dataset.kind;
    draw();
    reveal();
  } else if (button.dataset.sort) {
    const key = button.dataset.sort;
    // Numbers begin with the largest; a third click brings back the order of arrival.
    const first = key === 'score' || key === 'area';
    if (state.key !== key) [state.key, state.down] = [key, first];
    else if (state.down === first) state.down = !first;
    else [state.key, state.down] = ['number', false];
    draw();
    reveal();
  }
});
part('search').addEventListener('input', (event) => {
  state.words = event.target.value;
  draw();
});
part('list').addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || !event.target.matches('button.pick')) return;
  const order = readable();
  const moves = {ArrowDown: () => step(1, true), ArrowRight: () => step(1, true), ArrowUp: () => step(-1, true),
    ArrowLeft: () => step(-1, true), Home: () => pick(order[0]?.number, true), End: () => pick(order.at(-1)?.number, true)};
  if (!moves[event.key]) return;
  event.preventDefault();
  event.stopPropagation();
  moves[event.key]();
});

part('filters').append(...KINDS.map(([kind, word]) => make('button', {type: 'button', 'data-kind': kind,
  class: `filter ${kind.replace(' ', '-')}`, 'aria-pressed': 'false'}, `${word} `, make('b'))));
window.altubReview = {step};

function take() {
  const given = props.value;
  if (!given || !Array.isArray(given.rows)) return;
  if (given.batch !== state.batch) {  // another batch: nothing of the old one is kept
    lines.clear();
    Object.assign(state, {batch: given.batch, kind: 'all', words: ''});
    part('search').value = '';
  }
  state.rows = given.rows;
  state.shown = given.shown;
  draw();
  reveal();
}
watch('value', take);
take();
