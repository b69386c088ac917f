#include "base/archive/tar_reader.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/archive/tar_format.h"
#include "base/archive/tar_pax.h"
#include "base/status.h"

namespace gantry::archive {
namespace {

// Sizes beyond this are lies, and below it no sum of ours overflows.
constexpr int64_t kMaxSize = int64_t{1} << 60;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tar: ", what));
}

int64_t PaddingOf(int64_t size) { return -size & static_cast<int64_t>(kTarBlock - 1); }

bool IsZero(absl::string_view block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; });
}

// Segments must ascend, lie inside the file, and hold together what is stored.
absl::Status CheckSparse(const std::vector<SparseSegment>& segments, int64_t real_size,
                         int64_t stored_size) {
  int64_t end = 0;
  int64_t sum = 0;
  for (const SparseSegment& segment : segments) {
    if (segment.offset < end || segment.size < 0 || segment.offset > real_size ||
        segment.size > real_size - segment.offset) {
      return Malformed("bad map of a sparse file");
    }
    end = segment.offset + segment.size;
    sum += segment.size;
  }
  if (sum != stored_size) return Malformed("map and size of a sparse file differ");
  return absl::OkStatus();
}

// The map of a pax 1.0 sparse file as it stands before the content: decimal numbers, one a line,
// the count of segments first, then offset and size of each.
class SparseMapParser {
 public:
  explicit SparseMapParser(size_t max_segments) : max_segments_(max_segments) {}

  // Takes from the front of `data` what belongs to the map.
  absl::Status Consume(absl::string_view* data) {
    while (!data->empty() && !done()) {
      char c = data->front();
      data->remove_prefix(1);
      if (c != '\n') {
        if (c < '0' || c > '9' || digits_.size() >= 19) return Malformed("bad sparse map");
        digits_.push_back(c);
        continue;
      }
      GANTRY_ASSIGN_OR_RETURN(int64_t number, ParsePaxNumber(digits_));
      digits_.clear();
      GANTRY_RETURN_IF_ERROR(AddNumber(number));
    }
    return absl::OkStatus();
  }
  bool done() const { return expected_ == 0; }
  std::vector<SparseSegment> TakeSegments() { return std::move(segments_); }

 private:
  absl::Status AddNumber(int64_t number) {
    if (expected_ < 0) {
      if (number > static_cast<int64_t>(max_segments_))
        return absl::ResourceExhaustedError("tar: too many segments of a sparse file");
      expected_ = 2 * number;
      return absl::OkStatus();
    }
    if (expected_ % 2 == 0) {
      segments_.push_back({number, 0});
    } else {
      segments_.back().size = number;
    }
    --expected_;
    return absl::OkStatus();
  }

  size_t max_segments_;
  std::string digits_;
  int64_t expected_ = -1;  // numbers still to come; -1: the count itself
  std::vector<SparseSegment> segments_;
};

}  // namespace

class TarReader::Impl {
 public:
  Impl(TarSink* sink, const TarLimits& limits) : sink_(sink), limits_(limits) {}

  absl::Status Write(absl::string_view data) {
    if (!failed_.ok()) return failed_;
    while (!data.empty() && state_ != State::kEnd) {
      failed_ = Step(&data);
      if (!failed_.ok()) return failed_;
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (!failed_.ok()) return failed_;
    if (state_ == State::kEnd) return absl::OkStatus();
    // A last content block that was not padded is read by everybody.
    bool between = state_ == State::kHeader && block_.empty();
    if (!between && state_ != State::kPadding) return Malformed("unexpected end of the archive");
    if (HasPending()) return Malformed("the archive ends after an extended header");
    return absl::OkStatus();
  }

  bool at_end() const { return state_ == State::kEnd; }

 private:
  enum class State {
    kHeader,     // collecting a header block
    kExtended,   // collecting a pax header or GNU long name
    kGnuSparse,  // collecting an old GNU sparse extension block
    kSparseMap,  // pax 1.0: the map before the content
    kContent,    // of a file
    kSkip,       // content of a member that is no file
    kPadding,    // to the next block
    kEnd,
  };

  absl::Status Step(absl::string_view* data) {
    switch (state_) {
      case State::kHeader:
        return StepHeader(data);
      case State::kExtended:
        return StepExtended(data);
      case State::kGnuSparse:
        return StepGnuSparse(data);
      case State::kSparseMap:
        return StepSparseMap(data);
      case State::kContent:
        return StepContent(data);
      case State::kSkip:
        Take(data, &remaining_);
        if (remaining_ == 0) ToPadding();
        return absl::OkStatus();
      case State::kPadding:
        Take(data, &padding_);
        if (padding_ == 0) state_ = State::kHeader;
        return absl::OkStatus();
      case State::kEnd:
        return absl::OkStatus();
    }
    return absl::InternalError("tar: no such state");
  }

  // Up to `*left` bytes from the front of `data`.
  static absl::string_view Take(absl::string_view* data, int64_t* left) {
    absl::string_view head = data->substr(
        0, static_cast<size_t>(std::min<int64_t>(*left, static_cast<int64_t>(data->size()))));
    data->remove_prefix(head.size());
    *left -= static_cast<int64_t>(head.size());
    return head;
  }

  // A whole block, from `data` itself where possible; nothing while it is incomplete.
  absl::string_view TakeBlock(absl::string_view* data) {
    if (block_.empty() && data->size() >= kTarBlock) {
      absl::string_view block = data->substr(0, kTarBlock);
      data->remove_prefix(kTarBlock);
      return block;
    }
    int64_t left = static_cast<int64_t>(kTarBlock - block_.size());
    absl::string_view head = Take(data, &left);
    block_.append(head.data(), head.size());
    if (left > 0) return {};
    whole_block_.swap(block_);
    block_.clear();
    return whole_block_;
  }

  void ToPadding() { state_ = padding_ > 0 ? State::kPadding : State::kHeader; }

  bool HasPending() const { return has_local_pax_ || has_long_name_ || has_long_link_; }

  absl::Status StepHeader(absl::string_view* data) {
    absl::string_view block = TakeBlock(data);
    if (block.empty()) return absl::OkStatus();
    if (IsZero(block)) {
      if (HasPending()) return Malformed("the archive ends after an extended header");
      if (zero_seen_) state_ = State::kEnd;
      zero_seen_ = true;
      return absl::OkStatus();
    }
    if (zero_seen_) return Malformed("a zero block between members");
    if (!ChecksumMatches(block)) return Malformed("header with a wrong checksum");
    GANTRY_ASSIGN_OR_RETURN(stored_size_, ParseTarNumber(FieldBytes(block, kSizeField)));
    if (stored_size_ < 0 || stored_size_ > kMaxSize) return Malformed("impossible size");
    char type = block[kTypeOffset];
    switch (type) {
      case 'x':
      case 'X':
      case 'g':
      case 'L':
      case 'K':
        return BeginExtended(type);
      default:
        return BeginMember(block, type);
    }
  }

  absl::Status BeginExtended(char type) {
    size_t limit = type == 'L' || type == 'K' ? limits_.name_bytes : limits_.extended_bytes;
    if (stored_size_ > static_cast<int64_t>(limit))
      return absl::ResourceExhaustedError("tar: extended header is too long");
    extended_type_ = type;
    extended_.clear();
    remaining_ = stored_size_;
    padding_ = PaddingOf(stored_size_);
    state_ = State::kExtended;
    return remaining_ == 0 ? FinishExtended() : absl::OkStatus();
  }

  absl::Status StepExtended(absl::string_view* data) {
    absl::string_view head = Take(data, &remaining_);
    extended_.append(head.data(), head.size());
    return remaining_ == 0 ? FinishExtended() : absl::OkStatus();
  }

  absl::Status FinishExtended() {
    ToPadding();
    switch (extended_type_) {
      case 'g':
        return global_.Parse(extended_, limits_.sparse_segments);
      case 'L':
        has_long_name_ = true;
        long_name_ = extended_.substr(0, extended_.find('\0'));
        return absl::OkStatus();
      case 'K':
        has_long_link_ = true;
        long_link_ = extended_.substr(0, extended_.find('\0'));
        return absl::OkStatus();
      default:
        has_local_pax_ = true;
        return local_.Parse(extended_, limits_.sparse_segments);
    }
  }

  absl::Status BeginMember(absl::string_view block, char type) {
    GANTRY_RETURN_IF_ERROR(ReadHeader(block));
    if (has_long_name_) entry_.name = long_name_;
    if (has_long_link_) entry_.link_name = long_link_;
    PaxRecords records = global_;
    records.Merge(local_);
    GANTRY_RETURN_IF_ERROR(records.ApplyTo(&entry_, &stored_size_));
    if (stored_size_ > kMaxSize) return Malformed("impossible size");
    GANTRY_ASSIGN_OR_RETURN(PaxRecords::Sparse sparse, records.GetSparse());
    has_local_pax_ = has_long_name_ = has_long_link_ = false;
    local_.Clear();
    if (entry_.name.size() > limits_.name_bytes || entry_.link_name.size() > limits_.name_bytes)
      return absl::ResourceExhaustedError("tar: name is too long");

    remaining_ = stored_size_;
    padding_ = PaddingOf(stored_size_);
    if (absl::StrContains("DMNV", type)) {  // no file: dump directory, continuation, names, label
      state_ = State::kSkip;
      if (remaining_ == 0) ToPadding();
      return absl::OkStatus();
    }
    SetType(type);
    if (entry_.type != TarType::kRegular) return BeginSpecial();
    if (type == 'S') return BeginGnuSparse(block);
    if (sparse.map_in_data) return BeginSparseMap(sparse.real_size);
    if (sparse.present) return BeginContent(std::move(sparse.segments), sparse.real_size);
    return BeginContent({{0, stored_size_}}, stored_size_);
  }

  absl::Status ReadHeader(absl::string_view block) {
    entry_ = TarEntry();
    entry_.name = std::string(FieldText(block, kNameField));
    entry_.link_name = std::string(FieldText(block, kLinkField));
    GANTRY_ASSIGN_OR_RETURN(int64_t mode, ParseTarNumber(FieldBytes(block, kModeField)));
    entry_.mode = static_cast<mode_t>(mode & 07777);
    GANTRY_ASSIGN_OR_RETURN(entry_.uid, ReadId(block, kUidField));
    GANTRY_ASSIGN_OR_RETURN(entry_.gid, ReadId(block, kGidField));
    GANTRY_ASSIGN_OR_RETURN(int64_t mtime, ParseTarNumber(FieldBytes(block, kMtimeField)));
    entry_.mtime.tv_sec = mtime;
    absl::string_view magic = FieldBytes(block, kMagicField);
    if (!absl::StartsWith(magic, "ustar")) return absl::OkStatus();  // v7
    entry_.user_name = std::string(FieldText(block, kUserField));
    entry_.group_name = std::string(FieldText(block, kGroupField));
    char type = block[kTypeOffset];
    if (type == '3' || type == '4') {
      GANTRY_ASSIGN_OR_RETURN(entry_.dev_major, ReadId(block, kMajorField));
      GANTRY_ASSIGN_OR_RETURN(entry_.dev_minor, ReadId(block, kMinorField));
    }
    if (magic == absl::string_view("ustar  \0", 8)) return absl::OkStatus();  // GNU: no prefix
    bool star = FieldBytes(block, kStarTrailerField) == absl::string_view("tar\0", 4);
    absl::string_view prefix = FieldText(block, star ? kStarPrefixField : kPrefixField);
    if (!prefix.empty()) entry_.name = absl::StrCat(prefix, "/", entry_.name);
    return absl::OkStatus();
  }

  static absl::StatusOr<uint32_t> ReadId(absl::string_view block, TarField field) {
    GANTRY_ASSIGN_OR_RETURN(int64_t value, ParseTarNumber(FieldBytes(block, field)));
    if (value < 0 || value > UINT32_MAX) return Malformed("id out of range");
    return static_cast<uint32_t>(value);
  }

  void SetType(char type) {
    switch (type) {
      case '1':
        entry_.type = TarType::kHardLink;
        break;
      case '2':
        entry_.type = TarType::kSymlink;
        break;
      case '3':
        entry_.type = TarType::kCharDevice;
        break;
      case '4':
        entry_.type = TarType::kBlockDevice;
        break;
      case '5':
        entry_.type = TarType::kDirectory;
        break;
      case '6':
        entry_.type = TarType::kFifo;
        break;
      default:
        // v7 had no type for directories but a slash at the end.
        entry_.type = absl::EndsWith(entry_.name, "/") ? TarType::kDirectory : TarType::kRegular;
    }
  }

  // All but regular files have no content, whatever their size field says.
  absl::Status BeginSpecial() {
    remaining_ = padding_ = 0;
    state_ = State::kHeader;
    GANTRY_RETURN_IF_ERROR(sink_->OnEntry(entry_));
    return sink_->OnEntryEnd();
  }

  absl::Status AddGnuSegments(absl::string_view entries) {
    for (; entries.size() >= kGnuSparseEntry; entries.remove_prefix(kGnuSparseEntry)) {
      if (entries[0] == '\0') break;
      GANTRY_ASSIGN_OR_RETURN(int64_t offset, ParseTarNumber(entries.substr(0, 12)));
      GANTRY_ASSIGN_OR_RETURN(int64_t size, ParseTarNumber(entries.substr(12, 12)));
      if (segments_.size() >= limits_.sparse_segments)
        return absl::ResourceExhaustedError("tar: too many segments of a sparse file");
      segments_.push_back({offset, size});
    }
    return absl::OkStatus();
  }

  absl::Status BeginGnuSparse(absl::string_view block) {
    segments_.clear();
    GANTRY_ASSIGN_OR_RETURN(real_size_, ParseTarNumber(FieldBytes(block, kGnuRealSizeField)));
    GANTRY_RETURN_IF_ERROR(AddGnuSegments(FieldBytes(block, kGnuSparseField)));
    if (block[kGnuIsExtendedOffset] == '\0') return BeginContent(std::move(segments_), real_size_);
    state_ = State::kGnuSparse;
    return absl::OkStatus();
  }

  absl::Status StepGnuSparse(absl::string_view* data) {
    absl::string_view block = TakeBlock(data);
    if (block.empty()) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(AddGnuSegments(block.substr(0, kGnuExtensionEntries * kGnuSparseEntry)));
    if (block[kGnuExtensionIsExtendedOffset] != '\0') return absl::OkStatus();
    return BeginContent(std::move(segments_), real_size_);
  }

  absl::Status BeginSparseMap(int64_t real_size) {
    real_size_ = real_size;
    map_parser_ = SparseMapParser(limits_.sparse_segments);
    state_ = State::kSparseMap;
    return remaining_ == 0 ? Malformed("sparse file without a map") : absl::OkStatus();
  }

  absl::Status StepSparseMap(absl::string_view* data) {
    if (!map_parser_.done()) {
      absl::string_view head = data->substr(
          0,
          static_cast<size_t>(std::min<int64_t>(remaining_, static_cast<int64_t>(data->size()))));
      size_t before = head.size();
      GANTRY_RETURN_IF_ERROR(map_parser_.Consume(&head));
      data->remove_prefix(before - head.size());
      remaining_ -= static_cast<int64_t>(before - head.size());
      if (!map_parser_.done())
        return remaining_ == 0 ? Malformed("sparse map cut short") : absl::OkStatus();
      // The content begins at the next block.
      map_padding_ = PaddingOf(stored_size_ - remaining_);
      if (map_padding_ > remaining_) return Malformed("sparse map cut short");
    }
    absl::string_view skipped = Take(data, &map_padding_);
    remaining_ -= static_cast<int64_t>(skipped.size());
    if (map_padding_ > 0) return absl::OkStatus();
    return BeginContent(map_parser_.TakeSegments(), real_size_);
  }

  absl::Status BeginContent(std::vector<SparseSegment> segments, int64_t real_size) {
    if (real_size < 0 || real_size > kMaxSize) return Malformed("impossible size");
    GANTRY_RETURN_IF_ERROR(CheckSparse(segments, real_size, remaining_));
    segments_ = std::move(segments);
    segment_ = 0;
    segment_done_ = 0;
    entry_.size = real_size;
    state_ = State::kContent;
    GANTRY_RETURN_IF_ERROR(sink_->OnEntry(entry_));
    return remaining_ == 0 ? EndContent() : absl::OkStatus();
  }

  absl::Status StepContent(absl::string_view* data) {
    while (segment_done_ == segments_[segment_].size) {
      ++segment_;
      segment_done_ = 0;
    }
    const SparseSegment& segment = segments_[segment_];
    int64_t left = segment.size - segment_done_;
    absl::string_view head = Take(data, &left);
    int64_t offset = segment.offset + segment_done_;
    segment_done_ += static_cast<int64_t>(head.size());
    remaining_ -= static_cast<int64_t>(head.size());
    GANTRY_RETURN_IF_ERROR(sink_->OnData(offset, head));
    return remaining_ == 0 ? EndContent() : absl::OkStatus();
  }

  absl::Status EndContent() {
    ToPadding();
    return sink_->OnEntryEnd();
  }

  TarSink* sink_;
  TarLimits limits_;
  absl::Status failed_;
  State state_ = State::kHeader;
  std::string block_;        // a block that came in pieces
  std::string whole_block_;  // the last such, complete
  bool zero_seen_ = false;

  char extended_type_ = 0;
  std::string extended_;
  bool has_local_pax_ = false;
  bool has_long_name_ = false;
  bool has_long_link_ = false;
  PaxRecords global_;
  PaxRecords local_;
  std::string long_name_;
  std::string long_link_;

  TarEntry entry_;
  int64_t stored_size_ = 0;
  int64_t remaining_ = 0;
  int64_t padding_ = 0;
  int64_t real_size_ = 0;
  int64_t map_padding_ = 0;
  SparseMapParser map_parser_{0};
  std::vector<SparseSegment> segments_;
  size_t segment_ = 0;
  int64_t segment_done_ = 0;
};

TarReader::TarReader(TarSink* sink, const TarLimits& limits)
    : impl_(std::make_unique<Impl>(sink, limits)) {}
TarReader::~TarReader() = default;
absl::Status TarReader::Write(absl::string_view data) { return impl_->Write(data); }
absl::Status TarReader::Finish() { return impl_->Finish(); }
bool TarReader::at_end() const { return impl_->at_end(); }

}  // namespace gantry::archive
