// The same for tests.
#ifndef GANTRY_THIRD_PARTY_PCH_TEST_H_
#define GANTRY_THIRD_PARTY_PCH_TEST_H_

#include "third_party/pch/common.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#endif  // GANTRY_THIRD_PARTY_PCH_TEST_H_
