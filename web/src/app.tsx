// The whole page: conversations at the side, one of them or the dashboard beside it.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import * as api from './api';
import { Chat } from './chat';
import { Chats } from './chats';
import { Dashboard } from './dashboard';
import { Dialog, Icon, IconButton, use_update } from './parts';
import { SettingsDialog } from './settings_dialog';
import { load_settings, load_theme, save_settings, use_theme, type Settings, type Theme } from './settings';
import { download } from './store';

type Tab = 'chat' | 'dashboard';

export function App() {
  const chats = useMemo(() => new Chats(), []), update = use_update();
  const [tab, set_tab] = useState<Tab>('chat'), [drawer, set_drawer] = useState(false);
  const [settings, set_settings] = useState(load_settings), [theme, set_theme] = useState<Theme>(load_theme);
  const [dialog, set_dialog] = useState<'' | 'settings' | 'key'>('');
  const [props, set_props] = useState<api.Props | null>(null), [trouble, set_trouble] = useState('');
  const timer = useRef(0);

  // What the server is; asked again until it answers.
  async function meet() {
    clearTimeout(timer.current);
    try {
      const got = await api.props();
      set_props(got);
      set_trouble('');
      document.title = `${got.model} · Revenant`;
    } catch (error) {
      const refused = error as api.Refused;
      if (refused.status === 401) {
        set_trouble(api.stored_key() ? refused.message : '');
        return set_dialog('key');
      }
      set_trouble(refused.message);
      timer.current = window.setTimeout(meet, 2000);
    }
  }
  useEffect(() => {
    chats.wants_key = () => set_dialog('key');
    const off = chats.listen(update);
    chats.load();
    meet();
    return off;
  }, []);
  useEffect(() => use_theme(theme), [theme]);
  const change = (next: Settings) => { set_settings(next); save_settings(next); };
  const pick = (action: () => void) => { action(); set_tab('chat'); set_drawer(false); };

  return <div class={'app' + (drawer ? ' drawer' : '')}>
    <header class="top">
      <IconButton icon="menu" name="Conversations" class="only_small" expanded={drawer} onClick={() => set_drawer(!drawer)} />
      <div class="tabs" role="tablist" aria-label="Views" onKeyDown={e => {
        if (e.key !== 'ArrowLeft' && e.key !== 'ArrowRight') return;
        set_tab(tab === 'chat' ? 'dashboard' : 'chat');
        (e.currentTarget.querySelector('[aria-selected=false]') as HTMLElement).focus();
      }}>
        {(['chat', 'dashboard'] as Tab[]).map(t => <button type="button" role="tab" key={t} aria-selected={tab === t} tabIndex={tab === t ? 0 : -1}
          onClick={() => set_tab(t)}>{t === 'chat' ? 'Chat' : 'Dashboard'}</button>)}
      </div>
      <span class="model soft" title={props?.model}>{props?.model}</span>
      <IconButton icon="settings" name="Settings" onClick={() => set_dialog('settings')} />
    </header>
    <nav class="side" aria-label="Conversations">
      <button type="button" class="new" onClick={() => pick(() => chats.begin())}><PlusIcon /> New conversation</button>
      <ul>{chats.all.map(c => <li key={c.id}>
        <button type="button" aria-current={tab === 'chat' && c === chats.current} onClick={() => pick(() => chats.open(c))}>
          {c.title || 'A picture'}{chats.busy(c) && <span class="soft"> …</span>}</button></li>)}</ul>
      <Files chats={chats} />
    </nav>
    {drawer && <div class="veil" onClick={() => set_drawer(false)} />}
    {trouble && <p class="trouble" role="alert">{trouble}</p>}
    {tab === 'chat' ? <Chat chats={chats} settings={settings} props={props} /> : <Dashboard props={props} wants_key={() => set_dialog('key')} />}
    <div class={'notice' + (chats.notice ? ' on' : '')}>
      <span role="status">{chats.notice}</span>
      {chats.undo && <button type="button" class="plain" onClick={chats.undo}>Undo</button>}
    </div>
    {dialog === 'settings' && <SettingsDialog settings={settings} change={change} theme={theme} set_theme={set_theme} props={props}
      forget_key={api.stored_key() ? () => { api.store_key(''); set_dialog(''); meet(); } : null} close={() => set_dialog('')} />}
    {dialog === 'key' && <KeyDialog close={() => set_dialog('')} done={key => { api.store_key(key); set_dialog(''); meet(); }} />}
  </div>;
}

const PlusIcon = () => <Icon name="plus" />;

function Files({ chats }: { chats: Chats }) {
  const input = useRef<HTMLInputElement>(null);
  async function read(files: FileList | null) {
    for (const file of files ?? [])
      try { chats.import(await file.text()); } catch (error) { chats.tell((error as Error).message); }
  }
  return <div class="files">
    <IconButton icon="save" name="Export all" text onClick={() => download('revenant-conversations.json', chats.export(chats.all))} disabled={!chats.all.length} />
    <IconButton icon="open" name="Import" text onClick={() => input.current!.click()} />
    <input ref={input} type="file" accept="application/json,.json" multiple hidden data-test="import"
      onChange={e => { read(e.currentTarget.files); }} />
  </div>;
}

function KeyDialog({ close, done }: { close: () => void; done: (key: string) => void }) {
  const [key, set_key] = useState('');
  return <Dialog title="API key" close={close}>
    <form onSubmit={e => { e.preventDefault(); if (key.trim()) done(key.trim()); }}>
      <p>This server answers only to who has one of its keys.</p>
      <label class="field">Key <input type="password" autocomplete="off" value={key} onInput={e => set_key(e.currentTarget.value)} /></label>
      <p class="soft">It is kept until this tab is closed.</p>
      <button type="submit" class="strong" disabled={!key.trim()}>Use it</button>
    </form>
  </Dialog>;
}
