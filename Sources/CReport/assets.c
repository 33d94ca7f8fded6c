#include "CReport.h"

static const char style[] = {
#embed "page.css"
};
static const char script[] = {
#embed "page.js"
};

const char *lorikeet_report_style(size_t *count) {
    *count = sizeof style;
    return style;
}

const char *lorikeet_report_script(size_t *count) {
    *count = sizeof script;
    return script;
}
