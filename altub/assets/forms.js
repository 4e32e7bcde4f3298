// An error that belongs to a field is shown at the field, not over the page: the message names it (see `notice`).
(() => {
  if (window.altubForms) return;
  window.altubForms = true;
  const clear = (field) => {
    if (!field?.hasAttribute('data-wrong')) return;
    field.removeAttribute('data-wrong');
    field.querySelectorAll('.field-problem').forEach((line) => line.remove());
    field.querySelectorAll('[aria-invalid]').forEach((input) => input.removeAttribute('aria-invalid'));
  };
  const mark = (field, text) => {
    clear(field);
    field.setAttribute('data-wrong', '');
    const line = Object.assign(document.createElement('p'),
      {className: 'field-problem', textContent: text, id: `${field.id}-problem`});
    line.setAttribute('role', 'alert');
    field.append(line);
    const input = field.querySelector('input, textarea, button');
    input?.setAttribute('aria-invalid', 'true');
    input?.setAttribute('aria-describedby', line.id);
    field.scrollIntoView({block: 'nearest', behavior: 'smooth'});
    input?.focus({preventScroll: true});
  };
  const taken = new WeakSet();  // a message stays for a moment after it was closed
  const take = (note) => {
    if (taken.has(note)) return;
    taken.add(note);
    const id = [...note.classList].find((name) => name.startsWith('at-field-'))?.slice('at-field-'.length);
    const field = id && document.getElementById(id);
    if (!field?.getClientRects().length) return;  // hidden: the message stays one
    mark(field, note.textContent);
    note.closest('.toast-body').querySelector('[data-testid=toast-close]')?.click();
  };
  const begin = () => {
    new MutationObserver(() => document.querySelectorAll('.toast-body .at-field').forEach(take))
      .observe(document.body, {subtree: true, childList: true});
    for (const type of ['input', 'change', 'drop']) {
      addEventListener(type, (event) => clear(event.target.closest?.('[data-wrong]')), true);
    }
    addEventListener('click', (event) => {  // a choice from a list, a file taken away
      if (event.target.closest?.('button, [role=option]')) clear(event.target.closest('[data-wrong]'));
    }, true);
  };
  document.body ? begin() : addEventListener('DOMContentLoaded', begin);
})();
