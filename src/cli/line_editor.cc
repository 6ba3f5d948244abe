#include "cli/line_editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cwchar>
#include <string_view>

#include "cli/commands.h"
#include "text/unicode.h"

namespace revenant {
namespace {

constexpr int remembered = 1000;  // lines that the keys go back to
constexpr wchar_t broken = 0xFFFD;
constexpr std::wstring_view paste_begin = L"\033[200~", paste_end = L"\033[201~";

std::atomic<bool> resized{false};

std::string utf8(std::wstring_view text) {
  std::string out;
  for (const wchar_t c : text) append_code(out, char32_t(c));
  return out;
}

std::wstring wide(const std::string& text) {
  const std::string valid = repaired(text);
  std::wstring out;
  for (size_t at = 0; at < valid.size();) {
    const Code code = code_at(valid, at);
    out += wchar_t(code.value);
    at += size_t(code.size);
  }
  return out;
}

// The next byte of stdin; 0 or less: none. A window that changes its size is drawn anew meanwhile.
ssize_t read_byte(EditLine* editor, char& byte) {
  for (;;) {
    if (resized.exchange(false)) {
      el_resize(editor);
      el_wset(editor, EL_REFRESH);
    }
    struct pollfd ready {
      STDIN_FILENO, POLLIN, 0
    };
    if (::poll(&ready, 1, -1) < 0 && errno == EINTR) continue;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n >= 0 || errno != EINTR) return n;
  }
}

// By the locale's character set.
int read_character(EditLine* editor, wchar_t* out) {
  std::mbstate_t state{};
  char byte = 0;
  for (ssize_t n; (n = read_byte(editor, byte)) > 0;) {
    const size_t used = std::mbrtowc(out, &byte, 1, &state);
    if (used == size_t(-2)) continue;  // inside a character
    if (used == size_t(-1)) *out = broken;
    return 1;
  }
  return 0;
}

// Lines end in \n, whatever the terminal sent; other control characters do nothing in a question.
std::wstring cleaned(std::wstring_view pasted) {
  std::wstring out;
  for (size_t i = 0; i < pasted.size(); ++i) {
    const wchar_t c = pasted[i];
    const bool half = c == '\r' && i + 1 < pasted.size() && pasted[i + 1] == '\n';
    if (c == '\r' && !half) out += L'\n';
    if (c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f)) out += c;
  }
  return out;
}

unsigned char insert(EditLine* editor, const std::wstring& text) {
  return el_winsertstr(editor, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char insert_paste(EditLine* editor, wint_t) {
  std::wstring text;
  wchar_t c = 0;
  while (!text.ends_with(paste_end) && read_character(editor, &c) > 0) text += c;
  if (text.ends_with(paste_end)) text.resize(text.size() - paste_end.size());
  return insert(editor, cleaned(text));
}

unsigned char insert_newline(EditLine* editor, wint_t) { return insert(editor, L"\n"); }

// Completes a file's name after /image; in a question a tab is a tab.
unsigned char tab(EditLine* editor, wint_t key) {
  const LineInfoW* line = el_wline(editor);
  const std::wstring_view left(line->buffer, size_t(line->cursor - line->buffer));
  if (left == L"/image") return insert(editor, L" ");  // pasted without marks
  const bool completes = left.starts_with(L"/image ") && !left.ends_with(L' ');
  return completes ? _el_fn_complete(editor, int(key)) : insert(editor, L"\t");
}

unsigned char suspend(EditLine* editor, wint_t) {
  el_wset(editor, EL_PREP_TERM, 0);
  terminal::suspend();
  el_wset(editor, EL_PREP_TERM, 1);
  return CC_REDISPLAY;
}

void bind(EditLine* editor, const wchar_t* key, const wchar_t* function) {
  el_wset(editor, EL_BIND, key, function, nullptr);
}

// Characters need a locale; the plain one knows only ASCII.
void choose_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) == "ANSI_X3.4-1968")
    std::setlocale(LC_CTYPE, "C.UTF-8");
}

wchar_t* first_prompt(EditLine*) {
  static wchar_t text[] = L"> ";
  return text;
}

wchar_t* further_prompt(EditLine*) {
  static wchar_t text[] = L". ";
  return text;
}

}  // namespace

struct LineEditor::State {
  EditLine* editor;
  HistoryW* history;
  bool interrupted = false;  // by Ctrl-C, this line
  int idle_interrupts = 0;   // in a row, on empty lines
};

LineEditor::LineEditor() {
  choose_locale();
  EditLine* editor = el_init("revenant", stdin, stderr, stderr);
  HistoryW* history = history_winit();
  if (!editor || !history) throw std::bad_alloc();
  state_.reset(new State{editor, history});
  HistEventW event;
  history_w(history, &event, H_SETSIZE, remembered);
  history_w(history, &event, H_SETUNIQUE, 1);
  el_wset(editor, EL_CLIENTDATA, state_.get());
  el_wset(editor, EL_EDITOR, L"emacs");
  el_wset(editor, EL_HIST, history_w, history);
  el_wset(editor, EL_GETCFN, read_character);
  // While a line is edited the keys that make signals are keys; else see terminal.h.
  el_wset(editor, EL_SETTY, L"-d", L"intr=", L"quit=", L"susp=", L"-inlcr", L"-icrnl", nullptr);
  el_wset(editor, EL_SETTY, L"-x", L"-icanon", L"-echo", nullptr);
  el_source(editor, nullptr);  // ~/.editrc
  const auto interrupt = [](EditLine* e, wint_t) -> unsigned char {
    State* state = nullptr;
    el_wget(e, EL_CLIENTDATA, &state);
    state->interrupted = true;
    return CC_EOF;
  };
  using Function = unsigned char (*)(EditLine*, wint_t);
  const auto add = [&](const wchar_t* name, const wchar_t* help, Function function) {
    el_wset(editor, EL_ADDFN, name, help, function);
  };
  add(L"rv-paste", L"Insert what is pasted", insert_paste);
  add(L"rv-newline", L"Insert a newline", insert_newline);
  add(L"rv-tab", L"Complete a file name", tab);
  add(L"rv-suspend", L"Stop the job", suspend);
  add(L"rv-interrupt", L"Leave the line", interrupt);
  bind(editor, paste_begin.data(), L"rv-paste");
  bind(editor, L"\033\r", L"rv-newline");
  bind(editor, L"\033\n", L"rv-newline");  // typed during an answer
  bind(editor, L"\t", L"rv-tab");
  bind(editor, L"^Z", L"rv-suspend");
  bind(editor, L"^C", L"rv-interrupt");
  bind(editor, L"^R", L"em-inc-search-prev");
  struct sigaction action {};
  action.sa_handler = [](int) { resized = true; };
  action.sa_flags = SA_RESTART;  // poll returns all the same
  ::sigaction(SIGWINCH, &action, nullptr);
}

LineEditor::~LineEditor() {
  el_end(state_->editor);
  history_wend(state_->history);
}

std::optional<std::string> LineEditor::read() {
  std::wstring whole;
  el_wset(state_->editor, EL_PROMPT, first_prompt);
  for (;;) {
    state_->interrupted = false;
    int length = 0;
    el_wset(state_->editor, EL_PREP_TERM, 1);  // before the prompt invites a Ctrl-C
    const wchar_t* got = el_wgets(state_->editor, &length);
    std::wstring_view line(got ? got : L"", got ? size_t(length) : 0);
    if (state_->interrupted) {
      const LineInfoW* left = el_wline(state_->editor);
      const bool empty = whole.empty() && left->lastchar == left->buffer;
      state_->idle_interrupts = empty ? state_->idle_interrupts + 1 : 0;
      std::fputs(empty ? "^C\nCtrl-D or /quit ends, and so does one more Ctrl-C.\n" : "^C\n",
                 stderr);
      if (state_->idle_interrupts == 2) throw Exit{128 + SIGINT};
      return "";
    }
    if (line.empty()) {
      std::fputs("\n", stderr);
      return std::nullopt;
    }
    state_->idle_interrupts = 0;
    if (line.ends_with(L'\n') || line.ends_with(L'\r')) line.remove_suffix(1);
    whole += line;
    if (!whole.ends_with(L'\\')) return utf8(whole);
    whole.back() = L'\n';
    el_wset(state_->editor, EL_PROMPT, further_prompt);
  }
}

void LineEditor::remember(const std::string& line) {
  HistEventW event;
  history_w(state_->history, &event, H_ENTER, wide(line).c_str());
}

}  // namespace revenant
