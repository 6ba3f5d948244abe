// A conversation: its messages, and where the next one is written.
import { memo } from './memo';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Chats } from './chats';
import { LookBelow } from './look_below';
import { Markdown } from './markdown';
import { Icon, IconButton } from './parts';
import { picture_files, picture_of } from './picture';
import type { Props } from './api';
import type { Settings } from './settings';
import { download, type Message, type Picture } from './store';

export function Chat({ chats, settings, props }: { chats: Chats; settings: Settings; props: Props | null }) {
  const c = chats.current, busy = chats.busy();
  const [pictures, set_pictures] = useState<Picture[]>([]), [text, set_text] = useState('');
  const [dragging, set_dragging] = useState(false), [editing, set_editing] = useState('');
  const box = useRef<HTMLTextAreaElement>(null), files = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLDivElement>(null), at_end = useRef(true);

  async function add(more: File[]) {
    for (const file of more) {
      try {
        const picture = await picture_of(file);
        set_pictures(all => [...all, picture]);
      } catch (error) { chats.tell((error as Error).message); }
    }
    box.current?.focus();
  }
  useEffect(() => {
    const paste = (e: ClipboardEvent) => {
      const more = picture_files(e.clipboardData);
      if (!more.length || document.querySelector('dialog[open]')) return;
      e.preventDefault();
      add(more);
    };
    document.addEventListener('paste', paste);
    return () => document.removeEventListener('paste', paste);
  }, []);
  useEffect(() => { set_editing(''); at_end.current = true; box.current?.focus({ preventScroll: true }); }, [c]);
  // The end stays in sight while an answer is written, unless somebody scrolled up.
  useLayoutEffect(() => { if (at_end.current) list.current!.scrollTop = list.current!.scrollHeight; });
  useLayoutEffect(() => {
    const b = box.current!;
    b.style.height = 'auto';
    b.style.height = Math.min(b.scrollHeight + 2, 240) + 'px';
  }, [text]);

  function send() {
    if (busy || (!text.trim() && !pictures.length)) return;
    at_end.current = true;
    chats.send(text.trim(), pictures, settings);
    set_text('');
    set_pictures([]);
  }
  const blind = props !== null && !props.modalities.vision;

  return <main class={'chat' + (dragging ? ' dragging' : '')} onDragOver={e => { e.preventDefault(); set_dragging(true); }}
      onDragLeave={e => { if (!(e.currentTarget as Element).contains(e.relatedTarget as Element)) set_dragging(false); }}
      onDrop={e => { e.preventDefault(); set_dragging(false); add(picture_files(e.dataTransfer)); }}>
    {c.messages.length > 0 && <div class="chat_head">
      <input type="text" aria-label="Title of this conversation" value={c.title} key={c.id}
        onChange={e => chats.rename(c, e.currentTarget.value)} />
      <IconButton icon="save" name="Export this conversation" onClick={() => download(`${c.title.replace(/[^\w -]/g, '') || 'conversation'}.json`, chats.export([c]))} />
      <IconButton icon="trash" name="Delete this conversation" onClick={() => chats.delete(c)} />
    </div>}
    <div class="messages" ref={list} tabIndex={-1} onScroll={e => {
      const l = e.currentTarget;
      at_end.current = l.scrollHeight - l.scrollTop - l.clientHeight < 40;
    }}>
      <div role="log" aria-label="Conversation" aria-live="off">
        {c.messages.length === 0 && <Welcome props={props} blind={blind} />}
        {c.messages.map(m => m.id === editing
          ? <Editor key={m.id} message={m} cancel={() => set_editing('')} done={t => { set_editing(''); chats.edit(m, t, settings); }} />
          : <Row key={m.id} message={m} version={m.text.length + (m.state ?? '')} busy={busy} chats={chats} settings={settings}
              edit={() => set_editing(m.id)} />)}
      </div>
    </div>
    <form class="composer" onSubmit={e => { e.preventDefault(); send(); }}>
      {pictures.length > 0 && <ul class="thumbnails" aria-label="Pictures of the next message">
        {pictures.map((p, i) => <li key={p.uri + i}><img src={p.uri} alt={p.name} />
          <IconButton icon="close" name={`Remove ${p.name}`} onClick={() => set_pictures(all => all.filter((_, k) => k !== i))} /></li>)}
      </ul>}
      <div class="line">
        <input ref={files} type="file" accept="image/*" multiple hidden data-test="files"
          onChange={e => { add([...(e.currentTarget.files ?? [])]); e.currentTarget.value = ''; }} />
        <IconButton icon="picture" name={blind ? 'This model sees no pictures' : 'Add pictures (or drop or paste them)'} disabled={blind}
          onClick={() => files.current!.click()} />
        <textarea ref={box} rows={1} aria-label="Your message" placeholder="Ask something" value={text}
          onInput={e => set_text(e.currentTarget.value)}
          onKeyDown={e => {
            if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); }
            if (e.key === 'Escape' && busy) chats.stop();
          }} />
        {busy ? <IconButton icon="stop" name="Stop (Escape)" class="strong" onClick={() => { chats.stop(); box.current?.focus(); }} />
              : <button type="submit" class="icon strong" aria-label="Send" title="Send (Enter)" disabled={!text.trim() && !pictures.length}><SendIcon /></button>}
      </div>
    </form>
    {dragging && <div class="drop" aria-hidden="true">Drop pictures here</div>}
  </main>;
}

const SendIcon = () => <Icon name="send" />;

function Welcome({ props, blind }: { props: Props | null; blind: boolean }) {
  return <div class="welcome">
    <h2>{props ? props.model : 'Revenant'}</h2>
    {props && <p class="soft">{props.architecture} on {props.backbone}
      {props.phantom ? ', Phantom' : ''}{props.trol ? ', TroL' : ''}; context {props.n_ctx} tokens</p>}
    <p>{blind ? 'Ask something. This model sees no pictures.' : 'Drop, paste or add a picture, and ask about it.'}</p>
    <p class="soft">Conversations stay in this browser. Enter sends, Shift+Enter breaks the line, Escape stops.</p>
  </div>;
}

interface RowProps { message: Message; version: string; busy: boolean; chats: Chats; settings: Settings; edit: () => void; }
const Row = memo(function Row({ message: m, busy, chats, settings, edit }: RowProps) {
  const mine = m.role === 'user';
  return <article class={'message ' + m.role} aria-label={mine ? 'You' : 'Answer'}>
    {m.pictures && <ul class="thumbnails">{m.pictures.map((p, i) =>
      <li key={i}><img src={p.uri} alt={p.name} title={`${p.name}, ${p.width} × ${p.height}`} /></li>)}</ul>}
    {mine ? m.text && <div class="text plain">{m.text}</div>
          : <div class="text" aria-busy={m.state === 'writing'}><Markdown text={m.text} />
              {m.state === 'writing' && <span class="caret" aria-label="is being written" />}</div>}
    {m.error && <p class="error" role="alert">{m.error}</p>}
    <footer>
      {m.state === 'stopped' && <span class="soft">Stopped.</span>}
      {m.state === 'length' && <span class="soft">Cut: the most tokens were reached.</span>}
      {m.state !== 'writing' && <>
        {m.text && <IconButton icon="copy" name="Copy" onClick={() => navigator.clipboard?.writeText(m.text).then(() => chats.tell('Copied.'))} />}
        {mine ? <IconButton icon="edit" name="Edit and ask again" disabled={busy} onClick={edit} />
              : <IconButton icon="retry" name="Answer again" disabled={busy} onClick={() => chats.retry(m, settings)} />}
      </>}
      {m.facts && <span class="soft">{m.facts}</span>}
    </footer>
    {!mine && m.text && m.state !== 'writing' && <LookBelow message={m} chats={chats} busy={busy} settings={settings} />}
  </article>;
}, (a, b) => a.message === b.message && a.version === b.version && a.busy === b.busy && a.settings === b.settings);

function Editor({ message, cancel, done }: { message: Message; cancel: () => void; done: (text: string) => void }) {
  const [text, set_text] = useState(message.text), box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => { box.current!.focus(); box.current!.setSelectionRange(text.length, text.length); }, []);
  const send = () => { if (text.trim() || message.pictures) done(text.trim()); };
  return <form class="message user editor" onSubmit={e => { e.preventDefault(); send(); }}>
    <textarea ref={box} rows={3} aria-label="Edit your message" value={text} onInput={e => set_text(e.currentTarget.value)}
      onKeyDown={e => {
        if (e.key === 'Escape') cancel();
        if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); }
      }} />
    <div class="row"><button type="submit" class="strong">Send</button>
      <button type="button" class="plain" onClick={cancel}>Cancel</button>
      <span class="soft">What came after it goes.</span></div>
  </form>;
}
