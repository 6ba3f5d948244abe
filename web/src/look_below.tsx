// The look inside an answer, below it: computed when somebody asks for it.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Chats } from './chats';
import { mount_look } from './look';
import { IconButton } from './parts';
import type { Settings } from './settings';
import type { Message } from './store';

export function LookBelow({ message, chats, busy, settings }: { message: Message; chats: Chats; busy: boolean; settings: Settings }) {
  const [open, set_open] = useState(false), [waits, set_waits] = useState(false), [error, set_error] = useState('');
  const place = useRef<HTMLDivElement>(null), look = chats.looks.get(message.id), end = useRef<AbortController | null>(null);
  useEffect(() => () => end.current?.abort(), []);
  useEffect(() => (open && look ? mount_look(place.current!, look, { keys: place.current! }) : undefined), [open, look]);

  async function toggle() {
    set_open(!open);
    if (open || look) return;
    end.current = new AbortController();
    set_waits(true);
    set_error('');
    try {
      await chats.look(message, settings, end.current.signal);
    } catch (e) {
      if (!end.current.signal.aborted) set_error((e as Error).message);
      set_open(false);
    }
    set_waits(false);
  }
  return <div class="below">
    <IconButton icon="eye" name={waits ? 'Looking …' : open ? 'Close the look inside' : 'Look inside'} text expanded={open} disabled={waits || busy}
      onClick={toggle} />
    {error && <p class="error" role="alert">{error}</p>}
    {open && look && look.answer.trim() !== message.text.trim() &&
      <p class="soft">The look is of the answer “{look.answer}”: this one was cut or asked otherwise.</p>}
    {open && <div ref={place} />}
  </div>;
}
