#define _GNU_SOURCE
#include "CThreads.h"

#include <errno.h>
#include <fcntl.h>

int lorikeet_begin_writing(int descriptor) {
    if (sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE) == 0) return 0;
    // What cannot be written early (a pipe, a file system without the call) is written as ever.
    return errno == ENOSPC || errno == EDQUOT || errno == EIO ? errno : 0;
}
