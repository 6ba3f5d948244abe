// Conversations, kept in this browser (IndexedDB).

export interface Picture { uri: string; name: string; width: number; height: number; }
export interface Message {
  id: string; role: 'user' | 'assistant'; text: string;
  pictures?: Picture[];
  state?: 'writing' | 'done' | 'length' | 'stopped' | 'failed';
  error?: string;
  facts?: string;  // tokens and speed, in words
  parameters?: Record<string, unknown>;  // as the server used them
  tokens?: number;
}
export interface Conversation { id: string; title: string; changed: number; messages: Message[]; }

export const fresh_id = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map(b => b.toString(16).padStart(2, '0')).join('');
};
export const title_of = (text: string) => text.trim().replace(/\s+/g, ' ').slice(0, 60) || 'A picture';

const done = <T>(request: IDBRequest<T>) => new Promise<T>((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

let opened: Promise<IDBDatabase> | null = null;
function database(): Promise<IDBDatabase> {
  return opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('revenant', 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore('conversations', { keyPath: 'id' });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('another tab holds an older version open'));
  });
}
async function table(mode: IDBTransactionMode = 'readonly') {
  return (await database()).transaction('conversations', mode).objectStore('conversations');
}

// The last changed first. An answer that was being written when the page went is a stopped one.
export async function load_all(): Promise<Conversation[]> {
  const all: Conversation[] = await done((await table()).getAll());
  for (const c of all) for (const m of c.messages) if (m.state === 'writing') m.state = 'stopped';
  return all.sort((a, b) => b.changed - a.changed);
}
export const save = async (c: Conversation) => { await done((await table('readwrite')).put(c)); };
export async function remove(c: Conversation) {
  await done((await table('readwrite')).delete(c.id));
}

// ---- files ----

const format = 'revenant-conversations-1';
export const exported = (conversations: Conversation[]) =>
  JSON.stringify({ format, conversations }, null, 1);

// Of a file's text; throws in words. What is not known of a message is left out, ids are new.
export function imported(text: string): Conversation[] {
  let file: any;
  try { file = JSON.parse(text); } catch { throw new Error('That file is no JSON.'); }
  if (file?.format !== format || !Array.isArray(file.conversations))
    throw new Error(`That file holds no conversations: expected format ${format}.`);
  return file.conversations.map((c: any, i: number): Conversation => {
    const bad = (what: string) => new Error(`Conversation ${i + 1} of the file: ${what}.`);
    if (typeof c?.title !== 'string' || !Array.isArray(c.messages)) throw bad('expected a title and messages');
    return { id: fresh_id(), title: c.title.slice(0, 200), changed: Number(c.changed) || Date.now(),
             messages: c.messages.map((m: any) => message_of(m, bad)) };
  });
}
function message_of(m: any, bad: (what: string) => Error): Message {
  if ((m?.role !== 'user' && m?.role !== 'assistant') || typeof m.text !== 'string') throw bad('expected a role and a text');
  const pictures = (m.pictures ?? []).map((p: any): Picture => {
    if (typeof p?.uri !== 'string' || !/^data:image\/(png|jpeg|webp);base64,[A-Za-z0-9+/=]+$/.test(p.uri))
      throw bad('a picture is no data: URI');
    return { uri: p.uri, name: String(p.name ?? 'picture'), width: Number(p.width) || 0, height: Number(p.height) || 0 };
  });
  const state = ['done', 'length', 'stopped', 'failed'].includes(m.state) ? m.state : m.role === 'assistant' ? 'done' : undefined;
  return { id: fresh_id(), role: m.role, text: m.text, ...(pictures.length ? { pictures } : {}), ...(state ? { state } : {}),
           ...(typeof m.error === 'string' ? { error: m.error } : {}), ...(typeof m.facts === 'string' ? { facts: m.facts } : {}) };
}
export function download(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
