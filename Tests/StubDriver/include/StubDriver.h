// Nothing is called by name: the library is opened as libcuda.so.1 and its kin. (SwiftPM wants a header.)
#pragma once
