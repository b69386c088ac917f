// The same for tests.
#pragma once

#include "third_party/pch/common.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
