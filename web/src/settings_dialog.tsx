import type { Props } from './api';
import { Dialog } from './parts';
import { fields, no_settings, type Settings, type Theme } from './settings';

export function SettingsDialog(p: {
  settings: Settings; change: (next: Settings) => void; theme: Theme; set_theme: (theme: Theme) => void; props: Props | null;
  forget_key: (() => void) | null; close: () => void;
}) {
  const { settings, change } = p, defaults = p.props?.default_parameters ?? {};
  const own = (name: string) => (typeof defaults[name] === 'number' && name !== 'seed' ? String(defaults[name]) : 'the server’s');
  return <Dialog title="Settings" close={p.close}>
    <fieldset><legend>Look of the page</legend>
      {(['auto', 'light', 'dark'] as Theme[]).map(t => <label key={t}>
        <input type="radio" name="theme" checked={p.theme === t} onChange={() => p.set_theme(t)} /> {t === 'auto' ? 'as the system' : t}</label>)}
    </fieldset>
    <label class="field">System text <textarea rows={2} value={settings.system} placeholder="stands before the first question"
      onInput={e => change({ ...settings, system: e.currentTarget.value })} /></label>
    <div class="grid">{fields.map(f => <label class="field" key={f.name}>{f.label}
      <input type="number" inputMode="decimal" min={f.min} max={f.max} step={f.step} value={settings[f.name]} placeholder={own(f.name)}
        onInput={e => change({ ...settings, [f.name]: e.currentTarget.validity.valid ? e.currentTarget.value : settings[f.name] })} />
      <span class="soft">{f.help}</span></label>)}</div>
    <p class="row"><button type="button" class="plain" onClick={() => change({ ...no_settings })}>All as the server has it</button>
      {p.forget_key && <button type="button" class="plain" onClick={p.forget_key}>Forget the API key</button>}</p>
  </Dialog>;
}
