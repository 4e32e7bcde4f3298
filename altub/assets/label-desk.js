// The canvas of the Label tab: buttons, keys and words around the stage. `element`, `trigger`, `server`, `upload`, `watch`
// and `props` come from the component.
const root = element.querySelector('.label-desk');
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const VERDICTS = {good: 'Good', defect: 'Defect', unsure: 'Unsure'};
const REASONS = {nearest: 'near the threshold', anomalous: 'high score', newest: 'newest', diverse: 'unlike those before',
  random: 'random pick', again: 'shown before'};
const FIELDS = 'input:not([type=range], [type=checkbox], [type=radio], [type=button]), textarea, select, ' +
  '[contenteditable=""], [contenteditable=true], [role=combobox], [role=listbox], dialog';
const NAME_KEY = 'altub-labels-by';

const stage = new Stage(part('stage'));
const tools = new Tools(stage, () => { if (current?.mask.done.length) current.touched = true; drawTools(); });
const session = new Session(server, upload, tell);
let current = null, type = '', types = [], busy = false, hintUntil = 0;

// Elements from words: nothing that a person or a file is called becomes HTML.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

const number = (value) => (Math.abs(value) < 100 ? value.toFixed(3) : value.toPrecision(4)).replace('-', '−');
const write = (name, text) => { if (part(name).textContent !== text) part(name).textContent = text; };

function hint(text, kind = '') {
  write('hint', text);
  part('hint').dataset.kind = kind;
  hintUntil = text ? Date.now() + 6000 : 0;
  if (text && kind !== 'lasting') setTimeout(() => { if (Date.now() >= hintUntil) hint(''); }, 6100);
}

// What the session tells.

function tell(change, value) {
  if (change === 'counts') {
    types = value.types;
    write('progress', value.images ? `${value.labelled} of ${value.images} labelled` : '');
    part('bar').style.width = value.images ? `${100 * value.labelled / value.images}%` : '0';
    drawTypes();
  } else if (change === 'saving') {
    write('saved', value ? 'Saving …' : 'Saved');
  } else if (change === 'saved') {
    changed();
    if (current === value.item) drawItem();
  } else if (change === 'offline') {
    write('saved', `Not saved: the server does not answer. ${value} waiting`);
  } else if (change === 'expired') {
    enter();
  } else if (change === 'problem') {
    hint(value instanceof Refused ? value.message : 'The server does not answer: try again.', 'problem');
  } else if (change === 'proposal' && value === current) {
    stage.heat = current.heat;
    stage.proposed.show(proposedMask(current));
    stage.redraw(true);
    drawItem();
  }
}

let changing = 0;
function changed() {
  clearTimeout(changing);
  changing = setTimeout(() => trigger('labelled', {}), 400);
}

// Images.

const proposedMask = (item) => (item.proposal?.verdict === 'defect' ? item.proposed : null);

async function go(way, began = 0) {
  if (busy || !session.token) return;
  busy = true;
  const slow = setTimeout(() => { root.dataset.state = 'loading'; }, 150);
  if (current) session.leave(current);
  try {
    const item = await way();
    if (item) show(item, began);
    else end();
  } catch (error) {
    tell('problem', error);
    if (!current) veil('Nothing to show', 'The images could not be loaded: choose the filter again, or reload the page.');
  } finally {
    clearTimeout(slow);
    busy = false;
    if (root.dataset.state === 'loading') root.dataset.state = current ? 'ready' : 'empty';
  }
}

function show(item, began) {
  current = item;
  tools.cancel();
  root.dataset.state = 'ready';
  stage.show({...item, proposed: proposedMask(item)});
  const label = item.taken ?? item.label;
  if (label?.type) type = label.type;
  part('note').value = label?.note ?? '';
  item.taken = null;
  drawItem();
  drawTools();
  drawTypes();
  requestAnimationFrame(() => {
    if (began) performance.measure('altub-label-next', {start: began, end: performance.now()});
  });
  if (!item.proposal && session.view.run) setTimeout(() => poll(item), 1200);
}

async function poll(item) {
  if (item !== current || item.proposal || !session.view.run) return;
  try { await session.refresh(item); } catch { /* the next one may succeed */ }
  setTimeout(() => poll(item), 1500);
}

function end() {
  current = null;
  stage.clear();
  const left = session.skipped.length;
  if (left) {
    veil(`${left} skipped`, `All other images of this queue are labelled or being labelled.`, 'Show skipped',
      () => go(() => session.open(session.skipped[0])));
  } else if (session.isQueue) {
    const some = Number(part('progress').textContent.split(' ')[0]) > 0;
    if (some) veil('All labelled', 'Look at what the labels say below, or add images.');
    else veil('No images yet', 'Add images on the left: drop files, or take the test images of a category.');
  } else {
    veil('No such images', 'No image passes this filter: choose another one.');
  }
  drawItem();
  drawTools();
}

function veil(title, text, action = '', act = null) {
  root.dataset.state = 'empty';
  const children = [make('h3', {}, title), make('p', {}, text)];
  if (action) {
    const button = make('button', {type: 'button', class: 'wide'}, action);
    button.addEventListener('click', act);
    children.push(button);
  }
  part('veil').replaceChildren(...children);
}

// Who labels: the login's name, or one that is asked once.

function enter(name = localStorage.getItem(NAME_KEY) ?? '') { trigger('enter', {name}); }

function askName(problem = '') {
  root.dataset.state = 'empty';
  const field = make('input', {type: 'text', maxlength: 60, autocomplete: 'nickname', 'aria-label': 'Your name',
    placeholder: 'Your name', value: localStorage.getItem(NAME_KEY) ?? ''});
  const form = make('form', {class: 'who'}, make('h3', {}, 'Who is labeling?'),
    make('p', {}, problem || 'Labels are kept with a name, so that several people can work together.'),
    make('div', {class: 'row'}, field, make('button', {class: 'wide', type: 'submit'}, 'Start')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (field.value.trim()) enter(field.value.trim());
  });
  part('veil').replaceChildren(form);
}

watch('value', () => {
  const value = props.value;
  if (!value || typeof value !== 'object') return;
  if (!value.token) {
    if (value.view) askName(value.problem);
    return;
  }
  const before = session.view;
  Object.assign(session, {token: value.token, who: value.who, view: value.view});
  if (!value.login) localStorage.setItem(NAME_KEY, value.who);
  write('who', value.who);
  part('rename').hidden = Boolean(value.login);
  const same = (...names) => before && names.every((name) => before[name] === value.view[name]);
  if (!same('show', 'source', 'type') || (!session.isQueue && !same('order')) || !current) {
    current = null;
    go(() => session.begin());
  } else {  // another model or threshold, or more scores
    session.refreshAll().catch((error) => tell('problem', error));
  }
});

// Verdicts.

function label(verdict) {
  if (!current || busy) return;
  if (verdict !== 'defect' && !current.mask.isEmpty && current.touched) {
    hint('A mask is painted: press 2 for a defect, or clear the mask (C) first.', 'problem');
    return;
  }
  const began = performance.now(), item = current;
  tools.cancel();
  session.label(item, verdict, verdict === 'defect' ? type || types[0]?.name || '' : '', part('note').value);
  write('spoken', `${item.name}: ${VERDICTS[verdict]}.`);
  go(() => session.step(1), began);
}

function accept() {
  if (!current || busy) return;
  const {proposal, mask} = current;
  if (!mask.isEmpty) return label('defect');
  if (!proposal) return hint('The model has not scored this image yet: there is no proposal to accept.', 'problem');
  if (proposal.verdict === 'good') return label('good');
  tools.edit((own) => own.setRuns(proposal.runs));
  label('defect');
}

function useProposal() {
  if (!current?.proposal) return hint('The model has not scored this image yet.', 'problem');
  if (!current.proposal.runs.length) return hint('The model marks no pixel of this image.', 'problem');
  tools.edit((mask) => mask.setRuns(current.proposal.runs));
}

// Ctrl+Z: a stroke on this image or, where there is none, the last label.
function undo() {
  if (!tools.undo()) undoLabel();
}

function undoLabel() {
  go(async () => {
    const item = await session.undoLabel();
    write('spoken', `Label taken back: ${item.name}.`);
    changed();
    return item;
  });
}

function chooseType(name) {
  type = name;
  part('type').value = '';
  part('stage').focus({preventScroll: true});
  drawTypes();
}
