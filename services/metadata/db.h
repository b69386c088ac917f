#ifndef GANTRY_SERVICES_METADATA_DB_H_
#define GANTRY_SERVICES_METADATA_DB_H_

// All metadata of gantryd in one RocksDB database.
//
//   db->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
//     GANTRY_ASSIGN_OR_RETURN(auto old, tx.GetProto<Image>(key));
//     if (old.has_value()) return absl::AlreadyExistsError(…);
//     tx.PutProto(key, image);
//     tx.AddEvent(ns, "/images/create", event);
//     return absl::OkStatus();
//   });

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "base/status.h"
#include "containerd/types/event.pb.h"
#include "google/protobuf/message.h"

namespace gantry::services {

// kNone: survives a crash of gantryd, may be lost with power. kSync: survives that too.
using base::Durability;

// Reads of one consistent state. Used by one thread at a time and only while the function that was
// given it runs.
class ReadView {
 public:
  using ScanFn = absl::FunctionRef<bool(absl::string_view rest, absl::string_view value)>;

  virtual ~ReadView() = default;

  // The value at `key`, or nothing. DataLoss when the database is damaged there.
  virtual absl::StatusOr<std::optional<std::string>> Get(absl::string_view key) const = 0;

  // Calls `fn` for each record whose key begins with `prefix`, in the order of the keys, with the
  // rest of the key after it, until `fn` returns false. The views live until `fn` returns.
  virtual absl::Status Scan(absl::string_view prefix, ScanFn fn) const = 0;

  absl::StatusOr<bool> Exists(absl::string_view key) const;
  // Whether any key begins with `prefix`.
  absl::StatusOr<bool> AnyWith(absl::string_view prefix) const;

  // The same with the value parsed as message M; DataLoss when it is not one.
  template <typename M>
  absl::StatusOr<std::optional<M>> GetProto(absl::string_view key) const {
    GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> value, Get(key));
    if (!value.has_value()) return std::optional<M>();
    std::optional<M> message(std::in_place);
    if (!message->ParseFromString(*value)) return BadRecord(key);
    return message;
  }
  // `fn(rest, M& message)`; it may take the message. Returning false ends the scan.
  template <typename M, typename Fn>
  absl::Status ScanProto(absl::string_view prefix, Fn&& fn) const {
    absl::Status bad;
    absl::Status status =
        Scan(prefix, [&](absl::string_view rest, absl::string_view value) -> bool {
          M message;
          if (!message.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
            bad = BadRecord(absl::StrCat(prefix, rest));
            return false;
          }
          return fn(rest, message);
        });
    if (!status.ok()) return status;
    return bad;
  }

 protected:
  static absl::Status BadRecord(absl::string_view key);
};

// What one Update() will write. It reads its own writes.
class Tx : public ReadView {
 public:
  virtual void Put(absl::string_view key, absl::string_view value) = 0;
  // Deleting what does not exist does nothing.
  virtual void Delete(absl::string_view key) = 0;
  void PutProto(absl::string_view key, const google::protobuf::MessageLite& message) {
    Put(key, message.SerializeAsString());
  }

  // An event of this change: becomes durable with it and is numbered in the order of the commits.
  // `event` is packed with its bare full name as type URL, as containerd does.
  void AddEvent(absl::string_view ns, absl::string_view topic,
                const google::protobuf::Message& event);
  virtual void AddEnvelope(containerd::types::Envelope envelope) = 0;

  // Says that this change may have left something for the garbage collector to remove.
  virtual void MarkDirty() = 0;
};

struct NumberedEvent {
  uint64_t sequence = 0;
  containerd::types::Envelope envelope;
};

// What commit listeners are told of a transaction.
struct CommitInfo {
  std::vector<NumberedEvent> events;
  bool dirty = false;
};

struct DbOptions {
  // Size of the memory table and of the block cache. Small: the metadata of a host is a few
  // megabytes, and memory is what gantryd saves.
  size_t write_buffer_bytes = 1u << 20;
  size_t block_cache_bytes = 512u << 10;
};

// Thread-safe.
class Db {
 public:
  // Creates the directory `path` (mode 0700) and the database in it when missing. A torn tail of
  // the log, as a crash leaves it, is cut off: what was committed with kSync is all there.
  // DataLoss when it is damaged otherwise, Unavailable when another process has it open; the
  // message says what to do.
  static absl::StatusOr<std::unique_ptr<Db>> Open(const std::string& path, DbOptions options = {});

  Db(const Db&) = delete;
  Db& operator=(const Db&) = delete;
  // Flushes and closes. No call may be under way.
  ~Db();

  // Calls `fn` with a consistent state; writers go on meanwhile. Returns what `fn` returns.
  absl::Status View(absl::FunctionRef<absl::Status(const ReadView&)> fn) const;

  // Calls `fn` while no other updater runs, then writes all of its changes at once, or none if it
  // fails. `fn` must only compute: no disk, no RPC, no lock that is held elsewhere during an
  // Update. With kSync returns after the change is on the disk; commits of several threads share
  // one fsync, and none waits for another's `fn`. Returns what `fn` returns, or when writing failed
  // ResourceExhausted (disk full), DataLoss or Internal. After such a failure every Update() first
  // tries to bring the database back (once a second at most) and fails with the same code until
  // that works, for example when there is room on the disk again; reading goes on. A change whose
  // fsync failed was made all the same.
  absl::Status Update(Durability durability, absl::FunctionRef<absl::Status(Tx&)> fn);

  // `listener` is called for each later transaction that has events or is dirty, in the order of
  // the commits, never twice at once, without any lock, and for kSync after the fsync. It runs in
  // the thread of some updater: it must not block and must not call Update(). Register before
  // threads start.
  void AddCommitListener(std::function<void(const CommitInfo&)> listener);

  // The number of the newest event that was ever committed; 0 before the first.
  uint64_t last_event() const;

  // All keys written by others while it exists; for a reader of a long View() who must know what
  // changed since (see the garbage collector).
  class Journal;
  // Begins to record. Take it before the View() whose changes matter.
  std::unique_ptr<Journal> StartJournal() const;

 private:
  struct Impl;
  explicit Db(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Must not outlive its Db. Destroying it ends the recording.
class Db::Journal {
 public:
  ~Journal();
  // The keys put or deleted by transactions committed since the start; inside of an Update() that
  // is everything before it. Each key once.
  std::vector<std::string> Keys() const;

 private:
  friend class Db;
  explicit Journal(Impl* db) : db_(db) {}
  Impl* db_;
  std::vector<std::string> keys_;  // guarded by the mutex of the database
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_DB_H_
