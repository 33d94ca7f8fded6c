// libnvidia-ml: the card's readings; a line `process PID BYTES` of the configuration is a process on the card.
#include "stub.h"

static int started;

ENTRY int nvmlInit_v2(void) {
    CALL("");
    started++;
    stub_book("+ nvml");
    return 0;
}
ENTRY int nvmlShutdown(void) {
    CALL("");
    if (started == 0) return 1;
    started--;
    stub_book("- nvml");
    return 0;
}
ENTRY int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    CALL("");
    stub_text("driver", "550.54.15", text, length);
    return 0;
}
ENTRY int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
    CALL("%s", bus);
    static int one;
    *device = &one;
    return 0;
}
ENTRY int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    CALL("%d", device != NULL);
    stub_text("name", "Tesla T4", name, length);
    return 0;
}
ENTRY int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *total_free_used) {
    CALL("%d", device != NULL);
    total_free_used[0] = (unsigned long long)stub_number("total", 16106127360);
    total_free_used[1] = (unsigned long long)stub_number("free", 16106127360);
    total_free_used[2] = total_free_used[0] - total_free_used[1];
    return 0;
}
struct Process {
    unsigned pid;
    unsigned long long bytes;
    unsigned instance, compute;
};
ENTRY int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct Process *processes) {
    CALL("%d", device != NULL);
    unsigned found = 0;
    char line[128];
    for (; stub_line("process", (int)found, line, sizeof line); found++) {
        if (found >= *count) return 7;
        processes[found] = (struct Process){0, 0, ~0u, ~0u};
        if (sscanf(line, "%u %llu", &processes[found].pid, &processes[found].bytes) != 2) return 999;
    }
    *count = found;
    return 0;
}
#define READING(NAME, KEY, VALUE)                                                                                                     \
    ENTRY int NAME(void *device, unsigned *value) {                                                                                   \
        CALL("%d", device != NULL);                                                                                                   \
        *value = (unsigned)stub_number(KEY, VALUE);                                                                                   \
        return 0;                                                                                                                     \
    }
#define READING_OF(NAME, KEY, VALUE)                                                                                                  \
    ENTRY int NAME(void *device, int which, unsigned *value) {                                                                        \
        CALL("%d %d", device != NULL, which);                                                                                         \
        *value = (unsigned)stub_number(KEY, VALUE);                                                                                   \
        return 0;                                                                                                                     \
    }
READING(nvmlDeviceGetPowerUsage, "milliwatts", 27500)
READING(nvmlDeviceGetEnforcedPowerLimit, "milliwatts_limit", 70000)
READING_OF(nvmlDeviceGetTemperature, "celsius", 41)
READING_OF(nvmlDeviceGetClockInfo, "megahertz", 585)
READING_OF(nvmlDeviceGetMaxClockInfo, "megahertz_limit", 1590)
ENTRY int nvmlDeviceGetUtilizationRates(void *device, unsigned *gpu_memory) {
    CALL("%d", device != NULL);
    gpu_memory[0] = (unsigned)stub_number("utilisation", 93);
    gpu_memory[1] = 50;
    return 0;
}
