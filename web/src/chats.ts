// The conversations and the answers on their way; components listen for changes.
import { chat, look, Refused, type Asked, type Part, type Usage } from './api';
import type { Look } from './look_data';
import { parameters_of, type Settings } from './settings';
import { exported, fresh_id, imported, load_all, remove, save, title_of, type Conversation, type Message, type Picture } from './store';

// What the server is asked: everything before the answer. Answers that failed or are empty count as
// not given.
export function asked_of(messages: Message[], system: string): Asked[] {
  const out: Asked[] = system.trim() ? [{ role: 'system', content: system }] : [];
  for (const m of messages) {
    if (m.role === 'assistant') {
      if (m.text) out.push({ role: 'assistant', content: m.text });
      continue;
    }
    const parts: Part[] = (m.pictures ?? []).map(p => ({ type: 'image_url', image_url: { url: p.uri } }));
    if (m.text || !parts.length) parts.push({ type: 'text', text: m.text });
    out.push({ role: 'user', content: parts });
  }
  return out;
}

export class Chats {
  all: Conversation[] = [];
  current: Conversation = this.fresh();
  notice = '';                            // of what went wrong or was done; shown, and read aloud
  undo: (() => void) | null = null;       // of what the notice tells
  looks = new Map<string, Look>();        // by message, of this visit: they are computed again at will
  wants_key: () => void = () => {};
  private running = new Map<string, AbortController>();  // by conversation
  private listeners = new Set<() => void>();
  private notice_timer = 0;
  private frame = 0;

  listen(f: () => void) { this.listeners.add(f); return () => { this.listeners.delete(f); }; }
  changed() { this.listeners.forEach(f => f()); }
  // Once a frame at most: tokens may come faster than anybody reads.
  private changed_soon() { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.changed(); }); }
  tell(notice: string, undo: (() => void) | null = null) {
    this.notice = notice;
    this.undo = undo;
    clearTimeout(this.notice_timer);
    if (notice) this.notice_timer = window.setTimeout(() => this.tell(''), undo ? 10_000 : 7_000);
    this.changed();
  }
  private fresh(): Conversation { return { id: fresh_id(), title: '', changed: Date.now(), messages: [] }; }

  async load() {
    try {
      this.all = await load_all();
    } catch (error) {
      this.tell(`This browser keeps no conversations (${(error as Error).message}): they last as long as the page.`);
    }
    const wanted = location.hash.slice(1);
    this.open(this.all.find(c => c.id === wanted) ?? this.all[0] ?? this.fresh());
  }
  open(c: Conversation) {
    this.current = c;
    history.replaceState(null, '', '#' + c.id);
    this.changed();
  }
  begin() { this.open(this.fresh()); }

  // Into the list and the browser's store.
  private keep(c: Conversation, touched = true) {
    if (touched) c.changed = Date.now();
    if (!this.all.includes(c)) this.all.unshift(c);
    else if (touched) this.all.sort((a, b) => b.changed - a.changed);
    save(c).catch(error => this.tell(error?.name === 'QuotaExceededError'
      ? 'The browser has no room left: export and delete some conversations.' : `Not kept: ${error?.message}`));
    this.changed();
  }
  rename(c: Conversation, title: string) {
    c.title = title.trim() || c.title;
    this.keep(c, false);
  }
  delete(c: Conversation) {
    this.stop(c);
    this.all = this.all.filter(x => x !== c);
    if (this.current === c) this.open(this.all[0] ?? this.fresh());
    remove(c).catch(() => {});
    this.tell(`“${c.title}” was deleted.`, () => {
      this.keep(c, false);
      this.all.sort((a, b) => b.changed - a.changed);
      this.open(c);
      this.tell('It is back.');
    });
  }
  export(which: Conversation[]) { return exported(which); }
  import(text: string) {
    const more = imported(text);
    for (const c of more) this.keep(c, false);
    this.all.sort((a, b) => b.changed - a.changed);
    if (more.length) this.open(more[0]);
    this.tell(more.length === 1 ? 'One conversation was imported.' : `${more.length} conversations were imported.`);
  }

  busy(c = this.current) { return this.running.has(c.id); }
  stop(c = this.current) { this.running.get(c.id)?.abort(); }

  send(text: string, pictures: Picture[], settings: Settings) {
    const c = this.current;
    if (!c.title) c.title = title_of(text);
    c.messages.push({ id: fresh_id(), role: 'user', text, ...(pictures.length ? { pictures } : {}) });
    return this.answer(c, settings);
  }
  // Another answer in place of this one; what came after it goes.
  retry(m: Message, settings: Settings) {
    const c = this.current;
    c.messages.length = c.messages.indexOf(m);
    return this.answer(c, settings);
  }
  edit(m: Message, text: string, settings: Settings) {
    const c = this.current;
    c.messages.length = c.messages.indexOf(m) + 1;
    m.text = text;
    return this.answer(c, settings);
  }

  // The same question with the same parameters has the same answer, so that it may be looked into later.
  async look(m: Message, settings: Settings, signal: AbortSignal) {
    const before = this.current.messages.slice(0, this.current.messages.indexOf(m)), parameters: Record<string, unknown> = {};
    for (const name of ['temperature', 'top_p', 'top_k', 'min_p', 'repetition_penalty', 'seed'])
      if (m.parameters && name in m.parameters) parameters[name] = m.parameters[name];
    if (m.state === 'stopped' && m.tokens) parameters.max_tokens = m.tokens;
    const seen = await look(asked_of(before, settings.system), parameters, signal);
    const uris = before.flatMap(one => one.pictures ?? []).map(p => p.uri);
    seen.pictures.forEach((p, i) => { p.image = uris[i]; });
    this.looks.set(m.id, seen);
    this.changed();
  }

  private async answer(c: Conversation, settings: Settings) {
    const asked = asked_of(c.messages, settings.system);
    const m: Message = { id: fresh_id(), role: 'assistant', text: '', state: 'writing' };
    c.messages.push(m);
    const abort = new AbortController();
    this.running.set(c.id, abort);
    this.keep(c);
    try {
      await this.receive(m, asked, parameters_of(settings), abort.signal);
    } catch (error) {
      if (abort.signal.aborted) m.state = 'stopped';
      else this.fail(m, error);
    }
    this.running.delete(c.id);
    this.keep(c);
  }
  private fail(m: Message, error: unknown) {
    m.state = 'failed';
    m.error = (error as Error).message;
    if (error instanceof Refused && error.status === 401) this.wants_key();
  }

  private async receive(m: Message, asked: Asked[], parameters: Record<string, unknown>, signal: AbortSignal) {
    const begin = performance.now();
    let first = 0, last = 0, usage: Usage | null = null, state: Message['state'] = 'done';
    m.tokens = 0;
    for await (const chunk of chat(asked, parameters, signal)) {
      if (chunk.revenant?.parameters) m.parameters = chunk.revenant.parameters;
      if (chunk.usage) usage = chunk.usage;
      const choice = chunk.choices.find(one => one.index === 0);
      if (choice?.finish_reason === 'length') state = 'length';
      const more = choice?.delta.content || choice?.delta.refusal;
      if (more) {
        last = performance.now();
        first ||= last;
        ++m.tokens;
        m.text += more;
        this.changed_soon();
      }
    }
    m.state = state;
    if (usage) m.facts = facts(usage, first - begin, last - first);
  }
}

function facts(usage: Usage, first_ms: number, rest_ms: number): string {
  const n = usage.completion_tokens, cached = usage.prompt_tokens_details.cached_tokens;
  const speed = n > 1 && rest_ms > 0 ? `, ${((n - 1) / rest_ms * 1000).toFixed(1)} tokens/s` : '';
  return `${n} token${n === 1 ? '' : 's'} after ${(first_ms / 1000).toFixed(2)} s${speed}; ` +
    `prompt ${usage.prompt_tokens} tokens, ${cached} known before`;
}
