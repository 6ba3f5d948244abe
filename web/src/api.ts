// The server's routes, as the page uses them.
import type { Look } from './look_data';

// What the server refused, or that it could not be reached, in words.
export class Refused extends Error {
  constructor(message: string, readonly status: number, readonly code = '') { super(message); }
}

const key_place = 'revenant.key';
export const stored_key = () => sessionStorage.getItem(key_place) ?? '';
export const store_key = (key: string) => sessionStorage.setItem(key_place, key);

export type Part = { type: 'text'; text: string } | { type: 'image_url'; image_url: { url: string } };
export interface Asked { role: 'system' | 'user' | 'assistant'; content: string | Part[]; }
export type Parameters = Record<string, unknown>;
export interface Props {
  model: string; architecture: string; backbone: string; phantom: boolean; trol: boolean; n_ctx: number;
  modalities: { vision: boolean }; default_parameters: Record<string, unknown>;
  cache_memory: number; image_memory: number; parallel: number;
  limits: { pictures: number; picture_pixels: number; picture_side: number; queue: number };
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers: Record<string, string> = init.body ? { 'Content-Type': 'application/json' } : {};
  if (stored_key()) headers.Authorization = 'Bearer ' + stored_key();
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, cache: 'no-store' });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refused('The server cannot be reached. Is it still running?', 0, 'unreachable');
  }
  if (response.ok) return response;
  throw refusal_of(await response.text(), response);
}

function refusal_of(body: string, response: Response): Refused {
  let message = '', code = '';
  try {
    const error = JSON.parse(body).error;
    message = error.message;
    code = String(error.code ?? '');
    if (error.param && response.status === 400) message = `${error.param}: ${message}`;
  } catch { /* no JSON: another program answers */ }
  const again = response.headers.get('Retry-After');
  return new Refused(words(response.status, message) + (again ? ` Try again in ${again} s.` : ''), response.status, code);
}

function words(status: number, message: string): string {
  const says = message ? message[0].toUpperCase() + message.slice(1) + (/[.!?]$/.test(message) ? '' : '.') : '';
  switch (status) {
    case 401: return 'The server wants an API key, and this is none of its keys.';
    case 403: return 'The server does not answer to this page: ' + says;
    case 413: return 'The request is too large: ' + says + ' Fewer or smaller pictures help.';
    case 429: return 'You have too many requests waiting.';
    case 503: return message === 'Loading model' ? 'The model is still being loaded.' : 'The server is busy: ' + says;
    default: return says || `The server answered with status ${status}.`;
  }
}

export const props = async (): Promise<Props> => (await ask('props')).json();
export const metrics = async (): Promise<string> => (await ask('metrics')).text();

export interface Usage { prompt_tokens: number; completion_tokens: number; prompt_tokens_details: { cached_tokens: number }; }
export interface Told { parameters?: Record<string, unknown>; }
export interface Chunk {
  error?: { message: string };
  choices: { index: number; delta: { content?: string; refusal?: string }; finish_reason: string | null }[];
  usage?: Usage | null; revenant?: Told;
}

// The chunks of an answer, as they come. `signal` ends it.
export async function* chat(messages: Asked[], parameters: Parameters, signal: AbortSignal): AsyncGenerator<Chunk> {
  const body = JSON.stringify({ messages, ...parameters, stream: true, stream_options: { include_usage: true } });
  const response = await ask('v1/chat/completions', { method: 'POST', body, signal });
  let over = false;
  for await (const data of events(response.body!)) {
    if (data === '[DONE]') { over = true; break; }
    const chunk: Chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(words(500, chunk.error.message), 500);
    yield chunk;
  }
  if (!over) throw new Refused('The connection broke before the answer was complete.', 0, 'cut');
}

// The look inside the answer to the same.
export async function look(messages: Asked[], parameters: Parameters, signal: AbortSignal): Promise<Look> {
  const body = JSON.stringify({ messages, ...parameters, revenant: { look: true } });
  return (await (await ask('v1/chat/completions', { method: 'POST', body, signal })).json()).revenant.look;
}

// Data of server-sent events; comments and fields of other names are passed over.
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader(), decoder = new TextDecoder();
  let text = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
        const lines = text.slice(0, end).split('\n').filter(line => line.startsWith('data:'));
        if (lines.length) yield lines.map(line => line.slice(5).replace(/^ /, '')).join('\n');
      }
    }
  } catch (error) {
    if (error instanceof TypeError) throw new Refused('The connection broke before the answer was complete.', 0, 'cut');
    throw error;
  } finally {
    reader.cancel().catch(() => {});
  }
}
