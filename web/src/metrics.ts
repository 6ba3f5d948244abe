// The server's metrics, in Prometheus' text form, and what is shown of them.

const prefix = 'revenant:';

// The values by name, without labels; buckets of histograms are passed over.
export function parse(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split('\n')) {
    const found = /^([\w:]+)(\{[^}]*\})? (\S+)/.exec(line);
    if (!found || !found[1].startsWith(prefix) || found[1].endsWith('_bucket')) continue;
    const name = found[1].slice(prefix.length);
    values.set(name, (values.get(name) ?? 0) + Number(found[3]));
  }
  return values;
}

// One reading of the metrics.
export interface Reading { at: number; values: Map<string, number>; }

const of = (reading: Reading, name: string) => reading.values.get(name) ?? 0;
const bytes = (x: number) => x < 1e6 ? `${Math.round(x / 1e3)} kB` : x < 1e9 ? `${(x / 1e6).toFixed(1)} MB` : `${(x / 1e9).toFixed(2)} GB`;
const count = (x: number) => x.toFixed(Number.isInteger(x) ? 0 : 1);
const share = (x: number) => `${Math.round(100 * x)} %`;
const seconds = (x: number) => x < 1 ? `${Math.round(1000 * x)} ms` : `${x.toFixed(1)} s`;

// What happened between two readings.
const gain = (name: string) => (now: Reading, before: Reading) => Math.max(0, of(now, name) - of(before, name));
const rate = (name: string) => (now: Reading, before: Reading) =>
  gain(name)(now, before) / Math.max(1e-3, (now.at - before.at) / 1000);
const level = (name: string) => (now: Reading) => of(now, name);
const mean = (name: string) => (now: Reading) => of(now, name + '_sum') / Math.max(1, of(now, name + '_count'));
const hits = (name: string) => (now: Reading) => of(now, name + '_hits') / Math.max(1, of(now, name + '_queries'));

export interface Measure { name: string; note: string; at: (now: Reading, before: Reading) => number; shown: (x: number) => string; }
export const plots: Measure[] = [
  { name: 'Answers being written', note: 'now', at: level('num_requests_running'), shown: count },
  { name: 'Waiting', note: 'in the queue, now', at: level('num_requests_waiting'), shown: count },
  { name: 'Tokens written', note: 'a second', at: rate('generation_tokens_total'), shown: count },
  { name: 'Prompt tokens read', note: 'a second', at: rate('prompt_tokens_total'), shown: count },
  { name: 'Keys and values', note: 'memory of the cache', at: level('kv_cache_bytes'), shown: bytes },
  { name: 'Pictures kept', note: 'memory of their features', at: level('picture_cache_bytes'), shown: bytes },
];
export const facts: Measure[] = [
  { name: 'Time to the first token', note: 'mean', at: mean('time_to_first_token_seconds'), shown: seconds },
  { name: 'Between tokens', note: 'mean', at: mean('inter_token_latency_seconds'), shown: seconds },
  { name: 'In the queue', note: 'mean', at: mean('request_queue_time_seconds'), shown: seconds },
  { name: 'Prompt tokens found in the cache', note: 'of all', at: hits('prefix_cache'), shown: share },
  { name: 'Pictures found in the cache', note: 'of all', at: hits('mm_cache'), shown: share },
  { name: 'Pictures encoded', note: 'in all', at: level('pictures_encoded_total'), shown: count },
  { name: 'Tokens written', note: 'in all', at: level('generation_tokens_total'), shown: count },
  { name: 'Requests refused', note: 'in all', at: level('requests_rejected_total'), shown: count },
  { name: 'Clients that left', note: 'in all', at: level('requests_disconnected_total'), shown: count },
];
