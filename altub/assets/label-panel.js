// The words and buttons around the stage, and the keys.

function drawItem() {
  const item = current, proposal = item?.proposal;
  for (const button of root.querySelectorAll('[data-verdict]')) {
    button.setAttribute('aria-pressed', item?.label?.verdict === button.dataset.verdict);
    button.disabled = !item;
  }
  for (const name of ['accept', 'previous', 'next']) part(name).disabled = !item && name !== 'previous';
  write('name', item ? item.name : '');
  part('name').title = item?.name ?? '';
  write('about', item ? [`${item.width} × ${item.height}`, item.source, REASONS[item.reason] ?? '',
    session.isQueue ? '' : `${session.at + 1} of ${session.total}`, item.holder ? `${item.holder} is looking at it too` : '']
    .filter(Boolean).join(' · ') : '');
  const chip = part('verdict');
  chip.className = `chip ${proposal?.verdict ?? 'plain'}`;
  chip.textContent = proposal ? VERDICTS[proposal.verdict] : (session.view?.run ? 'Not scored yet' : 'No model');
  write('score', proposal ? number(proposal.score) : '–');
  write('threshold', proposal ? number(proposal.threshold) : '–');
  write('p', proposal ? proposal.p_value.toPrecision(2) : '–');
  const words = !item ? '' : proposal ? `proposed ${proposal.verdict}` : 'not scored';
  part('stage').setAttribute('aria-label', item ? `${item.name}, ${item.label ? `labelled ${item.label.verdict}` :
    'not labelled'}, ${words}. Tools work by pointer.` : 'No image');
  const history = (item?.history ?? []).slice(-4).reverse().map((one) => make('li', {},
    make('span', {class: `chip ${one.verdict === 'unsure' ? 'plain' : one.verdict}`}, one.type ?? VERDICTS[one.verdict]),
    ` ${one.who}, ${new Date(one.at * 1000).toLocaleString([], {dateStyle: 'short', timeStyle: 'short'})}`,
    ...(one.note ? [make('q', {}, one.note)] : [])));
  part('history').replaceChildren(...history);
  part('history').hidden = !history.length;
}

function drawTools() {
  for (const button of root.querySelectorAll('button[data-tool]')) {
    button.setAttribute('aria-pressed', button.dataset.tool === tools.tool);
  }
  const mask = current?.mask;
  part('size').value = tools.size;
  write('size-text', `${tools.size} px`);
  part('undo').disabled = !current;
  part('redo').disabled = !mask?.undone.length;
  part('clear').disabled = !mask || mask.isEmpty;
  part('use').disabled = !current?.proposal?.runs.length;
  part('heat').setAttribute('aria-pressed', stage.heatShown);
  part('proposal').setAttribute('aria-pressed', stage.proposalShown);
  write('area', mask && !mask.isEmpty ? `Mask: ${mask.count.toLocaleString()} px` : '');
  drawZoom();
}

function drawZoom() { write('zoom', stage.size ? `${Math.round(100 * stage.scale)} %` : ''); }

function drawTypes() {
  const wanted = part('type').value.trim().toLowerCase();
  const names = types.map((one) => one.name);
  if (type && !names.includes(type)) names.unshift(type);
  const shown = names.filter((name) => name.toLowerCase().includes(wanted)).slice(0, 12);
  const selected = type || names[0] || '';
  part('types').replaceChildren(...shown.map((name, k) => {
    const button = make('button', {type: 'button', 'aria-pressed': String(name === selected)},
      ...(k < 9 ? [make('kbd', {}, String(k + 1))] : []), name);
    button.addEventListener('click', () => chooseType(name));
    return button;
  }));
  part('none').hidden = shown.length > 0;
}

// Buttons.

const ACTIONS = {
  previous: () => go(() => session.step(-1)),
  next: () => go(() => session.step(1)),
  accept, undo, 'undo-label': undoLabel,
  redo: () => tools.redo(),
  clear: () => tools.edit((mask) => mask.clear()),
  use: useProposal,
  heat: () => { stage.heatShown = !stage.heatShown; stage.redraw(true); drawTools(); },
  proposal: () => { stage.proposalShown = !stage.proposalShown; stage.redraw(); drawTools(); },
  in: () => stage.zoom(1.5),
  out: () => stage.zoom(1 / 1.5),
  fit: () => stage.fit(),
  keys: () => part('help').showModal(),
  'close-help': () => part('help').close(),
  rename: () => askName(),
};

root.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !root.contains(button)) return;
  if (button.dataset.verdict) label(button.dataset.verdict);
  else if (button.dataset.tool) tools.use(button.dataset.tool);
  else ACTIONS[button.dataset.part]?.();
  // By mouse the keys go on working: the focus does not stay on the button.
  if (event.detail && !button.closest('dialog, form')) part('stage').focus({preventScroll: true});
});
part('size').addEventListener('input', () => tools.resize(Number(part('size').value)));
part('type').addEventListener('input', drawTypes);
part('type').addEventListener('keydown', (event) => {
  const field = event.target, shown = [...part('types').querySelectorAll('button')];
  if (event.key === 'Escape') {
    chooseType(type);
  } else if (/^[1-9]$/.test(event.key) && !field.value) {
    if (!shown[event.key - 1]) return;
    shown[event.key - 1].click();
  } else if (event.key === 'Enter') {
    const text = field.value.trim().replace(/\s+/g, ' ');
    const exact = types.find((one) => one.name.toLowerCase() === text.toLowerCase());
    if (!text) chooseType(type);
    else if (exact || !shown.length) chooseType(exact?.name ?? text);
    else if (event.shiftKey) chooseType(text);  // a new one, though it is the beginning of another
    else shown[0].click();
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
});
part('note').addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' && !(event.key === 'Enter' && !event.shiftKey)) return;
  event.preventDefault();
  event.stopPropagation();
  part('stage').focus({preventScroll: true});
});
stage.onView = () => { drawZoom(); tools._style?.(); };

// Keys. Never while a text field has the focus, and never where the tab is not shown.

const LETTERS = {d: ACTIONS.next, a: ACTIONS.previous, h: ACTIONS.heat, p: useProposal, c: ACTIONS.clear, u: undoLabel,
  t: () => part('type').focus(), n: () => part('note').focus(), v: () => tools.use('move'), b: () => tools.use('brush'),
  e: () => tools.use('eraser'), l: () => tools.use('line'), g: () => tools.use('polygon'), f: () => tools.use('fill'),
  m: ACTIONS.proposal};
const DIGITS = {Digit1: 'good', Digit2: 'defect', Digit3: 'unsure', Numpad1: 'good', Numpad2: 'defect', Numpad3: 'unsure'};
const SIGNS = {'?': ACTIONS.keys, '[': () => tools.larger(-1), ']': () => tools.larger(1), '+': ACTIONS.in, '=': ACTIONS.in,
  '-': ACTIONS.out, '0': ACTIONS.fit, ArrowRight: ACTIONS.next, ArrowLeft: ACTIONS.previous};

function actionOf(event) {
  const {key, code} = event, control = event.ctrlKey || event.metaKey;
  if (control && !event.altKey && key.toLowerCase() === 'z') return event.shiftKey ? ACTIONS.redo : undo;
  if (control && key.toLowerCase() === 'y') return ACTIONS.redo;
  if (key === '[' || key === ']') return SIGNS[key];  // with AltGr on many keyboards
  if (control || event.altKey) return null;
  if (key.startsWith('Arrow') && event.target.closest('[type=range], [type=radio], [role=tab], [role=slider]')) return null;
  if (key === 'Enter') {
    if (event.target.closest('button, a, summary, [role=tab], [type=checkbox], [type=radio]')) return null;
    return tools.corners.length > 2 ? () => tools.closePolygon() : accept;
  }
  if (key === 'Escape') return tools.corners.length || tools.from ? () => tools.cancel() : null;
  if (DIGITS[code] && !event.shiftKey) return () => label(DIGITS[code]);
  return SIGNS[key] ?? (key.length === 1 ? LETTERS[key.toLowerCase()] : null);
}

addEventListener('keydown', (event) => {
  if (!root.isConnected || root.offsetParent === null || event.defaultPrevented || document.querySelector('dialog[open]')) return;
  if (event.target.closest?.(FIELDS)) return;
  if (event.key === ' ' && root.contains(event.target) && !event.target.closest('button')) {
    tools.spaceHeld = true;
    tools._style();
    event.preventDefault();
    return;
  }
  const action = actionOf(event);
  if (!action || (event.repeat && (event.key === 'Enter' || DIGITS[event.code]))) return;
  event.preventDefault();
  action();
});
addEventListener('keyup', (event) => {
  if (event.key !== ' ') return;
  tools.spaceHeld = false;
  tools._style();
});
addEventListener('beforeunload', (event) => { if (session.outbox.length) event.preventDefault(); });
addEventListener('altub-label-open', (event) => {
  root.scrollIntoView({block: 'start', behavior: 'smooth'});
  go(() => session.open(event.detail));
});

// Nothing is leased for somebody who never opens the tab.
new IntersectionObserver((seen, observer) => {
  if (!seen.some((one) => one.isIntersecting)) return;
  observer.disconnect();
  enter();
}).observe(root);
drawItem();
drawTools();
drawTypes();
root.altub = {session, stage, tools};  // for tests
