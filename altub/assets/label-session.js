// Talks to the server: images before they are asked for, verdicts in the order in which they were given.
const AHEAD = 2;  // images loaded before they are asked for
const KEPT_ITEMS = 6;  // of those that were left, for going back
const RETRY_MS = 2000;
const LARGE_MASK = 256 << 10;  // bytes; a larger one is uploaded
const RENEWED_MS = 120_000;

const bitmap = async (address) => createImageBitmap(await (await fetch(address)).blob());

class Session {
  // `tell(change, value)` is called with what happened: "item", "counts", "saving", "problem", "expired", "proposal".
  constructor(server, upload, tell) {
    Object.assign(this, {server, upload, tell});
    this.token = this.view = null;
    this.items = new Map();  // by SHA-256, the newest last
    this.drafts = new Map();  // runs of masks that were painted and not saved
    this.labelled = new Set();  // images that have a label, as far as this page knows
    this.outbox = [];
    this.reset();
    setInterval(() => this._renew(), RENEWED_MS);
  }

  reset() {
    this.trail = [];  // images that were shown, or those of the list
    this.at = -1;
    this.ahead = [];
    this.total = 0;
    this.generation = (this.generation ?? 0) + 1;
  }

  get isQueue() { return this.view?.show === 'unlabelled'; }

  get current() { return this.items.get(this.trail[this.at]) ?? null; }

  async ask(name, request = {}) {
    const reply = await this.server[name]({token: this.token, view: this.view, ...request});
    if (reply.expired) this.tell('expired');
    if (reply.error) throw new Refused(reply.error, reply.expired);
    if (reply.labelled !== undefined) this.tell('counts', reply);
    return reply;
  }

  // The way through the images.

  async begin() {
    this.reset();
    const generation = this.generation;
    if (!this.isQueue) {
      const reply = await this.ask('list_images', {offset: 0});
      if (generation !== this.generation) return null;
      [this.trail, this.total] = [reply.list, reply.total];
    }
    return this.step(1);
  }

  // Shows the image after (1) or before (-1) the current one; null where there is none.
  async step(by) {
    const generation = this.generation, wanted = this.at + by;
    if (wanted < 0) return this.current;
    if (wanted < this.trail.length) return this._arrive(wanted, generation);
    if (!this.isQueue) {
      if (this.trail.length >= this.total) return this._pass();
      const reply = await this.ask('list_images', {offset: this.trail.length});
      if (generation !== this.generation) return null;
      this.trail.push(...reply.list.filter((image) => !this.trail.includes(image)));
      this.total = reply.list.length ? reply.total : this.trail.length;
      return wanted < this.trail.length ? this._arrive(wanted, generation) : this._pass();
    }
    this._fill();
    const item = await this.ahead.shift();
    if (generation !== this.generation) return null;
    if (!item) {
      this.ahead = [];
      return this._pass();
    }
    if (!this.trail.includes(item.image)) this.trail.push(item.image);
    this.keep(item);
    return this._arrive(this.trail.indexOf(item.image), generation);
  }

  // Behind the last image there is none; a step back leads to it again.
  _pass() {
    this.at = this.trail.length;
    return null;
  }

  async open(image) {
    const generation = this.generation;
    if (!this.trail.includes(image)) this.trail.splice(this.at + 1, 0, image);
    return this._arrive(this.trail.indexOf(image), generation);
  }

  async _arrive(at, generation) {
    const image = this.trail[at];
    const item = this.items.get(image) ?? await this._load((await this.ask('open_image', {image})).item);
    if (generation !== this.generation) return null;
    if (item.label) this.labelled.add(image);
    this.keep(item);
    this.at = this.trail.indexOf(image);
    if (this.isQueue) this._fill();
    else this._prefetch(this.trail[this.at + 1]);
    return item;
  }

  _fill() {
    while (this.ahead.length < AHEAD) {
      // One after another: each names the images that the page has already.
      const before = this.ahead.at(-1) ?? Promise.resolve(true), generation = this.generation;
      this.ahead.push(before.catch(() => true).then(async (last) => {
        if (last === null || generation !== this.generation) return null;
        const waiting = (await Promise.all(this.ahead.slice(0, -1).map(settled))).filter(Boolean);
        const have = [...this.trail.slice(-50), last.image, ...waiting.map((item) => item.image)].filter(Boolean);
        const {item} = await this.ask('next_image', {have});
        return item ? this._load(item) : null;
      }).catch((error) => { this.tell('problem', error); return null; }));
    }
  }

  async _prefetch(image) {
    if (!image || this.items.has(image)) return;
    try {
      const {item} = await this.ask('open_image', {image});
      this.items.set(image, await this._load(item));
    } catch { /* asked for again when it is its turn */ }
  }

  // Images that were shown and have no label.
  get skipped() { return this.isQueue ? this.trail.filter((image) => !this.labelled.has(image)) : []; }

  keep(item) {
    this.items.delete(item.image);
    this.items.set(item.image, item);
    for (const image of [...this.items.keys()].slice(0, -KEPT_ITEMS)) {
      this.leave(this.items.get(image));
      this.items.get(image).bitmap?.close();
      this.items.delete(image);
    }
  }

  // Keeps what was painted and not saved.
  leave(item) {
    if (item.touched && !item.mask.isEmpty) this.drafts.set(item.image, item.mask.runs());
    else this.drafts.delete(item.image);
  }

  async _load(item) {
    [item.bitmap] = await Promise.all([bitmap(item.picture), this._give(item, item.proposal)]);
    item.mask = new Mask(item.width, item.height);
    const runs = this.drafts.get(item.image) ?? item.label?.runs;
    if (runs) item.mask.setRuns(runs);
    item.touched = this.drafts.has(item.image);
    return item;
  }

  async _give(item, proposal) {
    item.heat = item.proposed = null;
    item.proposal = proposal;
    if (!proposal) return;
    item.heat = await bitmap(proposal.heat);
    item.proposed = new Mask(item.width, item.height);
    item.proposed.setRuns(proposal.runs);
  }

  // What the model says, where it was not asked before or another model was chosen.
  async refresh(item) {
    const {proposal} = await this.ask('propose', {image: item.image});
    if ((proposal?.id ?? null) === (item.proposal?.id ?? null) && proposal?.threshold === item.proposal?.threshold) return;
    await this._give(item, proposal);
    this.tell('proposal', item);
  }

  async refreshAll() {
    const waiting = await Promise.all(this.ahead.map(settled));
    await Promise.all([...this.items.values(), ...waiting.filter(Boolean)].map((item) => this.refresh(item)));
  }

  async _renew() {
    if (!this.token || document.hidden) return;
    const waiting = (await Promise.all(this.ahead.map(settled))).filter(Boolean);
    const images = [this.current, ...waiting].filter(Boolean).map((item) => item.image);
    try { if (images.length) await this.ask('renew', {images}); } catch { /* the next one may succeed */ }
  }

  // Verdicts.

  label(item, verdict, type, note) {
    const mask = verdict === 'defect' && !item.mask.isEmpty ? item.mask.toPNG() : null;
    item.label = {verdict, type: verdict === 'defect' ? type : null, who: this.who, at: Date.now() / 1000};
    item.touched = false;
    item.mask.done = [];
    item.mask.undone = [];
    if (verdict !== 'defect') item.mask.clear();
    this.drafts.delete(item.image);
    this.labelled.add(item.image);
    this.outbox.push({item, verdict, type, note, mask, showing: item.showing, proposal: item.proposal?.id});
    this.sending ??= this._send();
  }

  async _send() {
    while (this.outbox.length) {
      const [entry] = this.outbox, {item, verdict, type, note, showing, proposal} = entry;
      this.tell('saving', this.outbox.length);
      try {
        const request = {image: item.image, verdict, type, note, showing, proposal, ...await this._carried(entry)};
        const {label} = await this.ask('save_label', request);
        item.label = label;
        item.history = [...(item.history ?? []), label];
        this.outbox.shift();
        this.tell('saved', entry);
      } catch (error) {
        if (error instanceof Refused && !error.expired) {
          this.outbox.shift();
          item.label = null;
          this.labelled.delete(item.image);
          this.tell('problem', new Refused(`${item.name} was not labelled. ${error.message}`));
        } else {
          this.tell('offline', this.outbox.length);
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        }
      }
    }
    this.sending = null;
    this.tell('saving', 0);
  }

  async _carried({mask}) {
    if (!mask) return {};
    const bytes = await mask;
    if (bytes.length > LARGE_MASK) {
      return {upload: (await this.upload(new File([bytes], 'mask.png', {type: 'image/png'}))).path};
    }
    let text = '';
    for (let k = 0; k < bytes.length; k += 8192) text += String.fromCharCode(...bytes.subarray(k, k + 8192));
    return {mask: btoa(text)};
  }

  // Takes the newest label back and returns to its image, with the mask that it had.
  async undoLabel() {
    await this.sending;
    const {item, taken} = await this.ask('undo_label');
    this.labelled.delete(item.image);
    if (taken.runs) this.drafts.set(item.image, taken.runs);
    const loaded = await this._load(item);
    loaded.taken = taken;
    this.keep(loaded);
    return this.open(item.image);
  }
}

class Refused extends Error {
  constructor(message, expired = false) {
    super(message);
    this.expired = expired;
  }
}

// The value of a promise that is settled already, else null.
const settled = (promise) => Promise.race([promise, Promise.resolve(null)]).catch(() => null);
