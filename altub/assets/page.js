// What Gradio's components lack: names and keys for people who use no mouse, and manners. Runs before the page mounts.
(() => {
  if (window.altubPage) return;
  window.altubPage = true;
  const TOAST_SECONDS = 10;
  const on = (type, handle, options) => addEventListener(type, handle, {capture: true, ...options});
  const inPicture = (event) => event.target.closest?.('#inspect-slider');

  // A list answers Tab by opening again once the focus has left it: it must not see the key.
  on('keydown', (event) => {
    if (event.key === 'Tab' && event.target.getAttribute?.('role') === 'combobox') event.stopImmediatePropagation();
  });

  // The picture takes wheel and fingers for zooming: the page scrolls unless Ctrl is held, or the picture is enlarged.
  const enlarged = (picture) => !/scale\(1\)/.test(picture.querySelector('img')?.style.transform ?? 'scale(1)');
  on('wheel', (event) => {
    if (inPicture(event) && !event.ctrlKey && !event.metaKey) event.stopImmediatePropagation();
  }, {passive: true});
  on('touchstart', (event) => {
    const picture = inPicture(event);
    if (!picture || event.touches.length > 1 || event.target.closest('[data-testid=slider]')) return;
    if (!enlarged(picture)) event.stopImmediatePropagation();
  }, {passive: true});

  // Messages leave, unless they are being read; Escape closes them.
  const close = (toast) => toast.querySelector('[data-testid=toast-close]')?.click();
  const age = new WeakMap();
  setInterval(() => {
    for (const toast of document.querySelectorAll('.toast-body')) {
      const text = toast.textContent;
      const known = age.get(toast);
      const fresh = known?.text !== text || toast.matches(':hover, :focus-within');
      age.set(toast, {text, seconds: fresh ? 0 : known.seconds + 1});
      if (age.get(toast).seconds >= TOAST_SECONDS) close(toast);
    }
  }, 1000);
  on('keydown', (event) => {
    if (event.key === 'Escape') document.querySelectorAll('.toast-body').forEach(close);
  });

  on('click', (event) => {
    const tab = event.isTrusted && event.target.closest?.('#altub-tabs [role=tab]');
    if (tab) (window.altubAddress ??= {}).clicked = tab.textContent.trim();
  });

  // Tabs by arrow keys, as in the ARIA Authoring Practices.
  on('keydown', (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step || event.target.getAttribute?.('role') !== 'tab' || event.ctrlKey || event.altKey || event.metaKey) return;
    const tabs = [...event.target.closest('[role=tablist]').querySelectorAll('[role=tab]')];
    const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
    event.preventDefault();
  });

  // Gradio's tab bar looks which tabs have room when its own width changes: not when a narrower font arrives after that;
  // and it counts the room beside "More tabs" where that button is in sight. Where all of them fit without the button,
  // it is made to look again without it. It does so within a few frames, however long one takes.
  const bringTabsOut = () => {
    const bar = document.querySelector('#altub-tabs > .tab-wrapper');
    const menu = bar?.querySelector('.overflow-menu:not(.hide)');
    if (!menu || menu.style.display) return;
    const tabs = [...bar.querySelectorAll('.tab-container.visually-hidden button')]; // Gradio measures these
    if (tabs.reduce((sum, tab) => sum + tab.getBoundingClientRect().width, 0) > bar.clientWidth) return;
    menu.style.display = 'none';
    dispatchEvent(new Event('resize'));
    let frames = 4;
    const restore = () => (frames-- ? requestAnimationFrame(restore) : (menu.style.display = ''));
    restore();
  };
  document.fonts?.addEventListener('loadingdone', bringTabsOut);
  setInterval(bringTabsOut, 500);

  // The handle between original and overlay. It only knows the mouse: a key becomes a short drag. It moves over the
  // picture alone, which may be narrower than its frame.
  const place = (handle) => {
    const frame = handle.parentNode.getBoundingClientRect();
    const picture = document.querySelector('#inspect-slider img');
    const width = Math.min(frame.width, frame.height * picture.naturalWidth / picture.naturalHeight) || frame.width;
    const margin = (frame.width - width) / 2;
    const at = new DOMMatrix(getComputedStyle(handle).transform).m41 - margin;
    const percent = Math.min(100, Math.max(0, Math.round(100 * at / (width || 1))));
    return {left: frame.left + margin, top: frame.top, width, at, percent};
  };
  on('keydown', (event) => {
    if (!event.target.matches?.('#inspect-slider [data-testid=slider]')) return;
    const {left, top, width, at} = place(event.target);
    const step = width * (event.shiftKey ? 0.1 : 0.02);
    const to = {ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step,
      Home: 0, End: width}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    // A browser cuts off fractions of a pixel: rounded here, five steps are five steps.
    const where = {view: window, bubbles: true, cancelable: true, clientX: Math.round(left + to), clientY: top + 1};
    event.target.dispatchEvent(new MouseEvent('mousedown', where));
    event.target.dispatchEvent(new MouseEvent('mouseup', where));
  });

  // Names and values, set again whenever Gradio has drawn something.
  const set = (element, attributes) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (element && element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
    }
  };
  const text = (selector) => document.querySelector(selector)?.textContent.trim() ?? '';
  const describe = () => {
    const dark = document.body.classList.contains('dark');
    set(document.querySelector('#theme-switch'), {'aria-label': 'Dark theme', 'aria-pressed': dark, title: 'Dark theme'});
    const [original, overlay] = document.querySelectorAll('#inspect-slider img');
    const name = text('#inspect-verdict .name');
    set(original, {alt: `${name}, original`});
    set(overlay, {alt: `${name}, heatmap: ${text('#inspect-verdict .chip')}`});
    const handle = document.querySelector('#inspect-slider [data-testid=slider]');
    if (handle) {
      const {percent} = place(handle);
      set(handle, {role: 'slider', tabindex: 0, 'aria-label': 'Border of original and heatmap', 'aria-valuemin': 0,
        'aria-valuemax': 100, 'aria-valuenow': percent, 'aria-valuetext': `${percent} % original`});
    }
    // A list that scrolls would be a stop of its own for Tab.
    document.querySelectorAll('[role=listbox]').forEach((list) => set(list, {tabindex: -1}));
    document.querySelectorAll('.search-input').forEach((field) => set(field, {'aria-label': 'Search the table'}));
    const rate = text('#inspect-rate [data-testid="block-info"]').replace(/^.*: /, '');
    if (rate) set(document.querySelector('#inspect-rate input[type=range]'), {'aria-valuetext': rate});
    const ratio = text('#label-ratio [data-testid="block-info"]').replace(/^.*costs /, '');
    if (ratio) set(document.querySelector('#label-ratio input[type=range]'), {'aria-valuetext': ratio});
    const opacity = document.querySelector('#inspect-opacity input[type=range]');
    if (opacity) set(opacity, {'aria-valuetext': `${Math.round(100 * opacity.value)} %`});
  };
  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; describe(); });
  };
  on('input', soon);
  const begin = () => {
    new MutationObserver(soon).observe(document.body, {subtree: true, childList: true, characterData: true,
      attributes: true, attributeFilter: ['class', 'src', 'style']});
    soon();
  };
  document.body ? begin() : addEventListener('DOMContentLoaded', begin);
})();
