// The page of `revenant view`: the numbers stand in it as JSON.
import './base.css';
import './view.css';
import type { Look } from './look_data';
import { mount_look } from './look';

const $ = (id: string) => document.getElementById(id)!;
const look: Look = JSON.parse($('look').textContent!);
const m = look.model, answered = look.tokens.length - look.prompt_tokens;
$('question').textContent = look.question;
$('answer').textContent = look.answer || '(no text)';
$('model').textContent =
  `${m.name}: ${m.architecture} on ${m.backbone}, ${m.layers} layers, ${m.heads} heads (${m.kv_heads} key/value), ` +
  `${look.prompt_tokens} prompt tokens, ${answered} answer tokens` + (look.stopped ? '' : ', cut at the token limit');
document.title = 'Look inside: ' + look.question;
mount_look($('place'), look, { keys: document });
