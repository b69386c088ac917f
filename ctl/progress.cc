#include "ctl/progress.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ctl/output.h"
#include "ctl/terminal.h"

namespace gantry::ctl {
namespace {

constexpr absl::Duration kRedraw = absl::Milliseconds(80);
constexpr size_t kBarWidth = 30;

std::string ShortName(const client::Progress& progress) {
  std::string name = Printable(progress.name());
  size_t digest = name.find("sha256:");
  return digest == std::string::npos
             ? name
             : absl::StrCat(name.substr(0, digest), name.substr(digest + 7, 12));
}

}  // namespace

std::string FormatBar(int64_t done, int64_t total, size_t width) {
  size_t filled = 0;
  if (total > 0) {
    filled = static_cast<size_t>(static_cast<double>(std::clamp<int64_t>(done, 0, total)) /
                                 static_cast<double>(total) * static_cast<double>(width));
  }
  std::string bar = "[" + std::string(filled, '=') + std::string(width - filled, ' ') + "]";
  if (filled > 0 && filled < width) bar[filled] = '>';
  return bar;
}

ProgressDisplay::ProgressDisplay(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO)) {}

ProgressDisplay::~ProgressDisplay() {
  absl::MutexLock lock(&mutex_);
  if (!quiet_ && terminal_) Draw();
}

std::string ProgressDisplay::Line(const Item& item) const {
  std::string name = item.name;
  if (name.size() > 40) name = name.substr(0, 18) + "…" + name.substr(name.size() - 21);
  name.resize(std::max<size_t>(name.size(), 42), ' ');
  std::string line = absl::StrCat(name, " ", item.event);
  if (item.total <= 0) return line;
  absl::Duration elapsed = item.updated - item.started;
  std::string rate;
  if (elapsed > absl::Milliseconds(100) && item.done > item.first_done) {
    double per_second =
        static_cast<double>(item.done - item.first_done) / absl::ToDoubleSeconds(elapsed);
    rate = absl::StrCat("  ", FormatBytes(static_cast<int64_t>(per_second)), "/s");
  }
  return absl::StrCat(name, " ", FormatBar(item.done, item.total, kBarWidth), " ",
                      FormatBytes(item.done), " of ", FormatBytes(item.total), rate);
}

void ProgressDisplay::Draw() {
  std::string text;
  if (drawn_lines_ > 0) absl::StrAppend(&text, "\x1b[", drawn_lines_, "A");
  unsigned width = std::max(20u, GetWindowSize(STDERR_FILENO).width);
  for (const Item& item : items_) {
    absl::StrAppend(&text, "\r\x1b[K", Line(item).substr(0, width - 1), "\n");
  }
  drawn_lines_ = items_.size();
  drawn_ = absl::Now();
  PrintNote(text);
}

void ProgressDisplay::Update(const client::Progress& progress) {
  if (quiet_) return;
  absl::MutexLock lock(&mutex_);
  std::string name = ShortName(progress);
  auto item =
      std::find_if(items_.begin(), items_.end(), [&](const Item& i) { return i.name == name; });
  bool news = item == items_.end();
  absl::Time now = absl::Now();
  if (news) {
    items_.push_back({name, "", 0, 0, progress.progress(), now, now});
    item = items_.end() - 1;
  }
  news = news || item->event != progress.event();
  item->event = Printable(progress.event());
  item->done = progress.progress();
  item->total = progress.total();
  item->updated = now;
  if (!terminal_) {
    if (news) PrintNote(absl::StrCat(item->event, name.empty() ? "" : " ", name, "\n"));
  } else if (now - drawn_ >= kRedraw) {
    Draw();
  }
}

}  // namespace gantry::ctl
