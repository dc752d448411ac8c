/* machine.c - see machine.h.  Control groups are read from the process's own one up to the root,
 * since any level may hold the lowest limit; version 1 and 2 both. */
#include "engine/base/machine.h"

#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

enum { PATH_BYTES = 4096, CPUS_MAX = 65536 };

/* What one level of a control group hierarchy allows; UINT64_MAX and 0 stand for no limit. */
struct limits {
    uint64_t memory;           /* bytes */
    uint64_t memory_available; /* bytes below the level's limit that are not in use */
    double cpus;               /* quota / period; 0 when there is none */
};

/* The first line of a file, without its newline. */
static bool read_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(line, (int)size, f) != NULL;
    fclose(f);
    if (ok)
        line[strcspn(line, "\n")] = 0;
    return ok;
}

static bool read_number(const char *dir, const char *file, uint64_t *out)
{
    char path[PATH_BYTES + 64], line[64], *end;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (!read_line(path, line, sizeof line))
        return false;
    unsigned long long value = strtoull(line, &end, 10);
    if (end == line || *end || line[0] == '-') /* "max", or -1 for no quota */
        return false;
    *out = value;
    return true;
}

static void lower(uint64_t *limit, uint64_t value)
{
    if (value < *limit)
        *limit = value;
}

/* A number by its name from a file of "name value" lines; 0 when it is not there. */
static uint64_t read_named(const char *dir, const char *file, const char *name)
{
    char path[PATH_BYTES + 64], line[128];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t len = strlen(name);
    uint64_t value = 0;
    while (value == 0 && fgets(line, sizeof line, f))
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            value = strtoull(line + len + 1, NULL, 10);
    fclose(f);
    return value;
}

/* Usage counts the page cache, which a just-read checkpoint fills; what is inactive there is free. */
static void lower_memory(struct limits *l, const char *dir, const char *max_file, const char *use_file,
                         const char *cache_name)
{
    uint64_t max, used;
    if (!read_number(dir, max_file, &max))
        return;
    lower(&l->memory, max);
    if (!read_number(dir, use_file, &used))
        return;
    uint64_t cache = read_named(dir, "memory.stat", cache_name);
    used -= cache < used ? cache : used;
    lower(&l->memory_available, used < max ? max - used : 0);
}

static void lower_cpus(struct limits *l, double quota, double period)
{
    if (quota <= 0 || period <= 0)
        return;
    if (l->cpus <= 0 || quota / period < l->cpus)
        l->cpus = quota / period;
}

static void level_v2(struct limits *l, const char *dir)
{
    char path[PATH_BYTES + 64], line[64];
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    double quota, period;
    if (read_line(path, line, sizeof line) && sscanf(line, "%lf %lf", &quota, &period) == 2)
        lower_cpus(l, quota, period);
    lower_memory(l, dir, "memory.max", "memory.current", "inactive_file");
}

static void level_v1_cpu(struct limits *l, const char *dir)
{
    uint64_t quota, period;
    if (read_number(dir, "cpu.cfs_quota_us", &quota) && read_number(dir, "cpu.cfs_period_us", &period))
        lower_cpus(l, (double)quota, (double)period);
}

static void level_v1_memory(struct limits *l, const char *dir)
{
    lower_memory(l, dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
}

/* Applies level() to mount + path and every parent down to the mount itself.  A container often
 * sees its own group as the mount, with the host's path; levels that do not exist say nothing. */
static void walk_up(struct limits *l, const char *mount, const char *path,
                    void (*level)(struct limits *l, const char *dir))
{
    char dir[PATH_BYTES];
    int len = snprintf(dir, sizeof dir, "%s%s", mount, path);
    if (len < 0 || (size_t)len >= sizeof dir)
        return;
    size_t root = strlen(mount);
    for (;;) {
        level(l, dir);
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < root)
            return;
        *slash = 0;
    }
}

/* True when the comma-separated list holds the name. */
static bool list_holds(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += len)
        if ((p == list || p[-1] == ',') && (p[len] == ',' || p[len] == 0))
            return true;
    return false;
}

/* One line of /proc/self/cgroup: "hierarchy:controllers:path". */
static void apply_group(struct limits *l, char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return;
    *controllers++ = 0;
    *path++ = 0;
    if (*controllers == 0)
        walk_up(l, CGROUP_ROOT, path, level_v2);
    if (list_holds(controllers, "cpu"))
        walk_up(l, CGROUP_ROOT "/cpu", path, level_v1_cpu);
    if (list_holds(controllers, "memory"))
        walk_up(l, CGROUP_ROOT "/memory", path, level_v1_memory);
}

static struct limits group_limits(void)
{
    struct limits l = {UINT64_MAX, UINT64_MAX, 0};
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return l;
    char line[PATH_BYTES];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        apply_group(&l, line);
    }
    fclose(f);
    return l;
}

/* Processors in the affinity mask, which may be wider than a cpu_set_t. */
static unsigned affinity_count(void)
{
    for (int cpus = CPU_SETSIZE; cpus <= CPUS_MAX; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set)
            return 0;
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        int failed = sched_getaffinity(0, size, set);
        int count = failed ? 0 : CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (!failed)
            return (unsigned)count;
    }
    return 0;
}

unsigned machine_threads(void)
{
    unsigned threads = affinity_count();
    double cpus = group_limits().cpus;
    if (threads < 1)
        threads = 1;
    if (cpus <= 0 || cpus >= threads)
        return threads;
    unsigned whole = (unsigned)cpus;
    return whole < cpus ? whole + 1 : whole;
}

/* "Name:   123 kB" of a /proc file, in bytes; 0 when it is not there. */
static uint64_t proc_field(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    char line[256];
    size_t len = strlen(name);
    uint64_t kib = 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, len) == 0 && line[len] == ':') {
            kib = strtoull(line + len + 1, NULL, 10);
            break;
        }
    fclose(f);
    return kib * 1024;
}

uint64_t machine_memory(void)
{
    uint64_t total = proc_field("/proc/meminfo", "MemTotal");
    uint64_t group = group_limits().memory;
    return total && total < group ? total : group;
}

uint64_t machine_memory_available(void)
{
    uint64_t available = proc_field("/proc/meminfo", "MemAvailable");
    uint64_t group = group_limits().memory_available;
    return available && available < group ? available : group;
}

uint64_t machine_resident(void)
{
    char line[128];
    uint64_t total, resident;
    if (!read_line("/proc/self/statm", line, sizeof line) ||
        sscanf(line, "%" SCNu64 " %" SCNu64, &total, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t machine_peak_resident(void)
{
    return proc_field("/proc/self/status", "VmHWM");
}

/* From the system: what the processor itself says through sysconf() counts all of a large machine's. */
uint64_t machine_cache(void)
{
    enum { USUAL = 32 << 20, CACHES = 8 };
    unsigned long long largest = 0;
    for (int i = 0; i < CACHES; i++) {
        char path[64], line[64], unit = 0;
        unsigned long long size = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (!read_line(path, line, sizeof line) || sscanf(line, "%llu%c", &size, &unit) < 1 || size > 1 << 22)
            continue;
        size <<= unit == 'M' ? 20 : unit == 'K' ? 10 : 0;
        largest = size > largest ? size : largest;
    }
    return largest > 0 ? largest : USUAL;
}

/* Buffers, weights and key-value pages of this size are maps of their own: they leave no holes in a heap, and
 * go back to the machine when they are freed.  Said here, the limit does not grow by itself. */
enum { MAP_FROM = 512 << 10 };

void machine_prepare(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, MAP_FROM);
#endif
}

void machine_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
