// Eight-lane arithmetic that Swift's SIMD types do not compile well, inlined into the engine.
#pragma once
#include "blocks.h"
#include "dots.h"
#include "lanes.h"
