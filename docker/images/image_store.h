#ifndef GANTRY_DOCKER_IMAGES_IMAGE_STORE_H_
#define GANTRY_DOCKER_IMAGES_IMAGE_STORE_H_

// The images that gantryd has, as Docker sees them: one for each configuration, with all of its
// names. Docker's id of an image is the digest of its configuration.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/digest.h"
#include "base/json.h"
#include "client/connection.h"
#include "client/image.h"
#include "docker/images/reference.h"

namespace gantry::docker {

// An image's parent, when it was committed from a container (label of the image record).
inline constexpr char kParentLabel[] = "com.docker.image.parent";

struct Platform {
  std::string os = "linux";
  std::string architecture;
  std::string variant;

  // "linux/arm64/v8", "arm64"; InvalidArgument as Docker words it.
  static absl::StatusOr<Platform> Parse(absl::string_view text);
  // As the API has it: {"os":…,"architecture":…,"variant":…}; null or {} is this machine's.
  static absl::StatusOr<Platform> FromJson(const base::Json& json);
  static Platform OfThisMachine();
  std::string str() const;
  // Whether `other` (of an image) is what was asked for; an empty variant fits all.
  bool Accepts(const Platform& other) const;
};

// What a manifest and its configuration say; never changes for one target.
struct ImageContent {
  base::Digest id;        // of the configuration
  base::Digest manifest;  // the chosen one of an index
  std::vector<client::Descriptor> layers;
  std::vector<base::Digest> diff_ids;
  std::vector<std::string> chain_ids;
  base::Json config;  // the whole document
  int64_t config_size = 0;
  Platform platform;
  absl::Time created = absl::UnixEpoch();
  // "HOST/REPOSITORY" where registries are known to have the target.
  std::vector<std::string> sources;
};

struct LocalImage {
  std::shared_ptr<const ImageContent> content;
  // Names by which it is stored, dangling ones included: full names of image records.
  std::vector<std::string> names;
  // Of the record that was changed last.
  client::Descriptor target;
  absl::Time tagged = absl::InfinitePast();
  std::vector<ImageReference> tags;     // "x:1"
  std::vector<ImageReference> digests;  // "x@sha256:…", of names and of known sources
  base::Digest parent;                  // empty: none

  const base::Digest& id() const { return content->id; }
};

// Thread-safe. Keeps what it has read of manifests and configurations, which cannot change.
class ImageStore {
 public:
  ImageStore(client::Connection gantryd, std::string snapshotter);

  const client::Connection& gantryd() const { return gantryd_; }
  const std::string& snapshotter() const { return snapshotter_; }

  // Those whose content is complete enough to be shown, newest first.
  absl::StatusOr<std::vector<LocalImage>> List();

  // By name (":latest" is added), name@digest, id or unique beginning of an id. NotFound "No such
  // image: x:latest"; InvalidArgument for what can be neither.
  absl::StatusOr<LocalImage> Find(absl::string_view typed);

  // The bytes that each layer adds to the disk, in the order of the layers; those of the blob when
  // a layer is not unpacked.
  std::vector<int64_t> LayerSizes(const ImageContent& content);
  int64_t Size(const ImageContent& content);

  // Gives the image record `name` to `target`. What the name stood for before stays under a name of
  // its own unless it has others.
  absl::Status Tag(const std::string& name, const client::Descriptor& target,
                   const std::map<std::string, std::string>& labels = {});
  // Before something else overwrites `name`: makes sure that its image outlives that. Returns the
  // name it is kept under, empty when there was none; give it to DropSpare() afterwards.
  absl::StatusOr<std::string> KeepSpare(const std::string& name);
  // Removes a dangling name whose image has another one.
  void DropSpare(const std::string& spare);
  // OK when there is none.
  absl::Status DeleteName(const std::string& name, bool sync = false);

  // What a manifest or index stands for: that of this machine, or another that is complete.
  absl::StatusOr<std::shared_ptr<const ImageContent>> Load(const client::Descriptor& target);

 private:
  absl::StatusOr<std::vector<client::ImageRecord>> Records();
  absl::StatusOr<std::shared_ptr<const ImageContent>> LoadManifest(
      const client::Descriptor& target);
  absl::StatusOr<std::shared_ptr<const ImageContent>> LoadIndex(const client::Descriptor& target);
  std::vector<std::string> SourcesOf(const base::Digest& target);

  const client::Connection gantryd_;
  const std::string snapshotter_;
  absl::Mutex mutex_;
  std::map<base::Digest, std::shared_ptr<const ImageContent>> contents_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> sizes_ ABSL_GUARDED_BY(mutex_);  // by chain id
};

// The image among `images` that `typed` names; the rules of ImageStore::Find().
absl::StatusOr<LocalImage> FindAmong(const std::vector<LocalImage>& images,
                                     absl::string_view typed);

// The first twelve digits.
std::string ShortId(absl::string_view id);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_IMAGE_STORE_H_
