// The same for generated messages.
#ifndef GANTRY_THIRD_PARTY_PCH_MESSAGES_H_
#define GANTRY_THIRD_PARTY_PCH_MESSAGES_H_

#include <map>
#include <string>
#include <vector>

#include "google/protobuf/arena.h"
#include "google/protobuf/arenastring.h"
#include "google/protobuf/extension_set.h"
#include "google/protobuf/generated_enum_reflection.h"
#include "google/protobuf/generated_message_reflection.h"
#include "google/protobuf/generated_message_util.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/map_entry.h"
#include "google/protobuf/map_field_inl.h"
#include "google/protobuf/message.h"
#include "google/protobuf/message_lite.h"
#include "google/protobuf/metadata.h"
#include "google/protobuf/metadata_lite.h"
#include "google/protobuf/reflection_ops.h"
#include "google/protobuf/repeated_field.h"
#include "google/protobuf/unknown_field_set.h"
#include "google/protobuf/wire_format.h"

#endif  // GANTRY_THIRD_PARTY_PCH_MESSAGES_H_
