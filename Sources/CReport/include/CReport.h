// The style sheet and the script of report.html, embedded (page.css, page.js).
#pragma once
#include <stddef.h>

/// UTF-8 text of `*count` bytes, without a closing zero.
const char *lorikeet_report_style(size_t *count);
const char *lorikeet_report_script(size_t *count);
