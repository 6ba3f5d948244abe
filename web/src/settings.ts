// What the person chose, kept in this browser. Empty: the server's own value.
export interface Settings {
  system: string; temperature: string; top_p: string; top_k: string; min_p: string; repetition_penalty: string;
  seed: string; max_tokens: string;
}
export type Theme = 'auto' | 'light' | 'dark';
export const no_settings: Settings = {
  system: '', temperature: '', top_p: '', top_k: '', min_p: '', repetition_penalty: '', seed: '', max_tokens: '',
};

export interface Field {
  name: Exclude<keyof Settings, 'system'>; label: string; help: string; min: number; max?: number; step: number | 'any';
}
export const fields: Field[] = [
  { name: 'temperature', label: 'Temperature', help: '0: always the likeliest token', min: 0, max: 100, step: 'any' },
  { name: 'top_p', label: 'Top p', help: 'likeliest tokens with this share together', min: 0.001, max: 1, step: 'any' },
  { name: 'top_k', label: 'Top k', help: 'so many likeliest tokens; 0: all', min: 0, step: 1 },
  { name: 'min_p', label: 'Min p', help: 'share of the likeliest token’s probability', min: 0, max: 1, step: 'any' },
  { name: 'repetition_penalty', label: 'Repetition penalty', help: '1: none', min: 0.01, max: 100, step: 'any' },
  { name: 'seed', label: 'Seed', help: 'the same seed, the same answer', min: 0, step: 1 },
  { name: 'max_tokens', label: 'Most tokens', help: 'of an answer', min: 1, step: 1 },
];

// The parameters of a request.
export function parameters_of(settings: Settings): Record<string, number> {
  const out: Record<string, number> = {};
  for (const { name } of fields) if (settings[name] !== '' && isFinite(+settings[name])) out[name] = +settings[name];
  return out;
}

const place = 'revenant.settings', theme_place = 'revenant.theme';
export function load_settings(): Settings {
  try {
    const stored = JSON.parse(localStorage.getItem(place) ?? '{}'), out = { ...no_settings };
    for (const key of Object.keys(out) as (keyof Settings)[])
      if (typeof stored[key] === typeof out[key]) (out as any)[key] = stored[key];
    return out;
  } catch { return { ...no_settings }; }
}
export const save_settings = (settings: Settings) => localStorage.setItem(place, JSON.stringify(settings));

export const load_theme = (): Theme => {
  const stored = localStorage.getItem(theme_place);
  return stored === 'light' || stored === 'dark' ? stored : 'auto';
};
export function use_theme(theme: Theme) {
  localStorage.setItem(theme_place, theme);
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
