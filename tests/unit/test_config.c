/* test_config.c - config.json files that do not fit their weights: each is refused at loading with one line
 * that names the folder and the fault.  The folders are put together from tests/hostile/config/good and one
 * file. */
#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/unit/suite.h"
#include "tests/unit/vocabulary.h"

#define HOSTILE TESTS_DIR "/hostile/config"

static char root[256];
static struct engine *engine;

static void make_root(void)
{
    struct engine_options o;
    struct error e = {0};
    snprintf(root, sizeof root, "%s/loquat-config-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
    engine_options_init(&o);
    o.threads = 1;
    o.kv_memory = 16 << 20;
    ck_assert_msg(engine_open(&o, &engine, &e) == 0, "%s", e.text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_root(void)
{
    engine_close(engine);
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* root/NAME -> target */
static void link_file(const char *name, const char *target)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    (void)unlink(path);
    ck_assert_int_eq(symlink(target, path), 0);
}

static void put_folder(const char *weights, const char *config)
{
    link_file("config.json", config);
    link_file("model.safetensors", weights);
    link_file("tokenizer.json", HOSTILE "/good/tokenizer.json");
}

static void assert_outcome(const char *name, bool accepted, const char *words)
{
    struct engine_model *m = NULL;
    struct error e = {0};
    const struct engine_model_options o = {.context = 0};
    int status = engine_load(engine, name, root, &o, &m, &e);
    ck_assert_msg(accepted == (status == 0), "%s: %s", name, status == 0 ? "was accepted" : e.text);
    if (accepted)
        return;
    ck_assert_msg(strncmp(e.text, root, strlen(root)) == 0, "%s: the folder is not named: %s", name, e.text);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s: %s\nshould hold: %s", name, e.text, words);
    ck_assert_ptr_null(strchr(e.text, '\n'));
}

START_TEST(configs_end_as_the_table_says)
{
    size_t len, n = 0;
    char *table = read_file(HOSTILE "/expect", &len);
    for (char *line = table, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        char path[1024], *name_end = strchr(line, ' ');
        ck_assert_ptr_nonnull(name_end);
        *end = *name_end = 0;
        snprintf(path, sizeof path, "%s/%s", HOSTILE, line);
        put_folder(HOSTILE "/good/model.safetensors", path);
        bool accepted = strcmp(name_end + 1, "accept") == 0;
        assert_outcome(line, accepted, accepted ? "" : name_end + 1 + strlen("refuse "));
    }
    ck_assert_uint_gt(n, 25);
    free(table);
}
END_TEST

START_TEST(published_hostile_configs_are_refused)
{
    if (skip_without("LOQUAT_CONFORMANCE", "the collected hostile files"))
        return;
    char dir[512], path[1024], weights[1024];
    size_t n = 0;
    snprintf(dir, sizeof dir, "%s/models/hostile/config", getenv("LOQUAT_CONFORMANCE"));
    snprintf(weights, sizeof weights, "%s/good/model.safetensors", dir);
    snprintf(path, sizeof path, "%s/good/config.json", dir);
    put_folder(weights, path);
    assert_outcome("good", true, "");
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (!strstr(entry->d_name, ".json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        put_folder(weights, path);
        assert_outcome(entry->d_name, false, "");
        n++;
    }
    closedir(d);
    ck_assert_uint_ge(n, 17);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, make_root, remove_root);
    tcase_add_test(t, configs_end_as_the_table_says);
    tcase_add_test(t, published_hostile_configs_are_refused);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(make_suite());
}
