// libnvrtc: "compiles" to a text that says what it was asked for.
#include "stub.h"

struct Program {
    char name[64];
    char binary[256];
};

ENTRY int nvrtcVersion(int *major, int *minor) {
    CALL("");
    *major = 12;
    *minor = 6;
    return 0;
}
ENTRY int nvrtcCreateProgram(void **program, const char *source, const char *name, int headers, const char *const *texts, const char *const *names) {
    CALL("%s %d", name, headers);
    if (!source || (headers && (!texts || !names))) return 1;
    struct Program *made = calloc(1, sizeof *made);
    if (!made) return 1;
    stub_book("+ program");
    snprintf(made->name, sizeof made->name, "%s", name);
    *program = made;
    return 0;
}
ENTRY int nvrtcCompileProgram(void *program, int count, const char *const *options) {
    struct Program *p = program;
    char all[160] = "";
    for (int i = 0; i < count; i++) snprintf(all + strlen(all), sizeof all - strlen(all), " %s", options[i]);
    CALL("%s%s", p->name, all);
    snprintf(p->binary, sizeof p->binary, "stub binary of %s%s", p->name, all);
    return 0;
}
static const char *error_text = "rmsnorm.cu(12): error: identifier \"oops\" is undefined\n\n1 error detected in the compilation of \"rmsnorm.cu\".\n";
/// What failed says so; what did not says what the line `nvrtc-log TEXT` of the configuration has, by default nothing.
static void log_of(struct Program *p, char *into, size_t room) {
    if (p->binary[0]) stub_text("nvrtc-log", "", into, room);
    else snprintf(into, room, "%s", error_text);
}
ENTRY int nvrtcGetProgramLogSize(void *program, size_t *size) {
    CALL("");
    char text[256] = "";
    if (program) log_of(program, text, sizeof text);
    *size = program ? strlen(text) + 1 : 0;
    return 0;
}
ENTRY int nvrtcGetProgramLog(void *program, char *text) {
    CALL("");
    if (program) log_of(program, text, 256);
    return 0;
}
static int size_of(struct Program *p, size_t *size) {
    *size = strlen(p->binary) + 1;
    return 0;
}
static int binary_of(struct Program *p, char *bytes) {
    memcpy(bytes, p->binary, strlen(p->binary) + 1);
    return 0;
}
ENTRY int nvrtcGetPTXSize(void *program, size_t *size) {
    CALL("");
    return size_of(program, size);
}
ENTRY int nvrtcGetPTX(void *program, char *bytes) {
    CALL("");
    return binary_of(program, bytes);
}
ENTRY int nvrtcGetCUBINSize(void *program, size_t *size) {
    CALL("");
    return size_of(program, size);
}
ENTRY int nvrtcGetCUBIN(void *program, char *bytes) {
    CALL("");
    return binary_of(program, bytes);
}
ENTRY int nvrtcDestroyProgram(void **program) {
    CALL("");
    if (!*program) return 4;
    free(*program);
    *program = NULL;
    stub_book("- program");
    return 0;
}
