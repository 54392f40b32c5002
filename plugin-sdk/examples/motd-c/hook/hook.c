// An example of a hook in C: writes the text that a person reads who logs in.
//
// Its twin in Rust, examples/motd, does the same, to the byte. All that is known of pib here is its interface:
// `stage.h`, `stage.c` and `stage_component_type.o` are what wit-bindgen makes of it (see build.sh).

#include "stage.h"

#include <stdlib.h>
#include <string.h>

// A text that grows.
typedef struct {
    uint8_t *ptr;
    size_t len, room;
} text_t;

static void add_bytes(text_t *text, const void *bytes, size_t count) {
    if (text->len + count > text->room) {
        text->room = 2 * (text->len + count) + 64;
        text->ptr = realloc(text->ptr, text->room);
        if (!text->ptr)
            abort();
    }
    if (count)
        memcpy(text->ptr + text->len, bytes, count);
    text->len += count;
}

static void add(text_t *text, const char *literal) { add_bytes(text, literal, strlen(literal)); }

static void add_string(text_t *text, const stage_string_t *string) { add_bytes(text, string->ptr, string->len); }

static void add_number(text_t *text, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = '0' + number % 10;
    while (number /= 10);
    add_bytes(text, digits + at, sizeof digits - at);
}

static stage_string_t string_of(const text_t *text) { return (stage_string_t){text->ptr, text->len}; }

static stage_string_t copy(const char *literal) {
    text_t text = {0};
    add(&text, literal);
    return string_of(&text);
}

static bool is(const stage_string_t *string, const char *literal) {
    return string->len == strlen(literal) && memcmp(string->ptr, literal, string->len) == 0;
}

static bool same(const stage_string_t *one, const stage_string_t *other) {
    return one->len == other->len && memcmp(one->ptr, other->ptr, one->len) == 0;
}

// Returns the value of a config key; NULL where it has none.
static const pib_stage_types_value_t *setting(const pib_stage_types_context_t *context, const char *key) {
    for (size_t i = 0; i < context->config.len; i++)
        if (is(&context->config.ptr[i].key, key))
            return &context->config.ptr[i].value;
    return NULL;
}

// Reads the logo, where there is one; returns false, and why, if it cannot be read.
static bool read_logo(const pib_stage_types_context_t *context, text_t *logo, text_t *why) {
    const pib_stage_types_value_t *value = setting(context, "logo");
    if (!value || value->val.files.len == 0)
        return true;
    stage_string_t path = value->val.files.ptr[0].path;
    stage_list_u8_t bytes;
    stage_string_t reason;
    if (pib_stage_host_read_file(&path, &bytes, &reason)) {
        add_bytes(logo, bytes.ptr, bytes.len);
        return true;
    }
    add(why, "could not read `");
    add_string(why, &path);
    add(why, "`: ");
    add_string(why, &reason);
    return false;
}

// Adds a diagnostic to a list; a help of NULL is none.
static void tell(exports_pib_stage_hook_list_diagnostic_t *list, pib_stage_types_severity_t severity, const char *key,
                 const text_t *message, const char *help) {
    list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
    if (!list->ptr)
        abort();
    exports_pib_stage_hook_diagnostic_t *told = &list->ptr[list->len++];
    memset(told, 0, sizeof *told);
    told->severity = severity;
    told->key.is_some = true;
    told->key.val = copy(key);
    told->message = string_of(message);
    told->help.is_some = help != NULL;
    if (help)
        told->help.val = copy(help);
}

void exports_pib_stage_hook_validate(exports_pib_stage_hook_context_t *context,
                                     exports_pib_stage_hook_list_diagnostic_t *list) {
    list->ptr = NULL;
    list->len = 0;
    size_t length = setting(context, "text")->val.text.len;
    int64_t width = setting(context, "width")->val.integer;
    size_t lines = setting(context, "lines")->val.list.len;
    if ((int64_t)length > width) {
        text_t message = {0};
        add(&message, "the text has ");
        add_number(&message, length);
        add(&message, " bytes, and a line has ");
        add_number(&message, (uint64_t)width);
        tell(list, PIB_STAGE_TYPES_SEVERITY_ERROR, "text", &message, "Shorten it, or raise width.");
    }
    if (lines > 20) {
        text_t message = {0};
        add_number(&message, lines);
        add(&message, " lines do not fit on a small screen");
        tell(list, PIB_STAGE_TYPES_SEVERITY_WARNING, "lines", &message, NULL);
    }
    text_t logo = {0}, why = {0};
    if (!read_logo(context, &logo, &why))
        tell(list, PIB_STAGE_TYPES_SEVERITY_ERROR, "logo", &why, NULL);
}

bool exports_pib_stage_hook_render(exports_pib_stage_hook_context_t *context, stage_string_t *part,
                                   exports_pib_stage_hook_rendered_t *rendered, stage_string_t *error) {
    text_t text = {0}, why = {0};
    if (!read_logo(context, &text, &why)) {
        *error = string_of(&why);
        return false;
    }
    const stage_string_t *first = &setting(context, "text")->val.text;
    bool shout = setting(context, "shout")->val.boolean;
    for (size_t i = 0; i < first->len; i++) {
        uint8_t c = first->ptr[i];
        c = shout && c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
        add_bytes(&text, &c, 1);
    }
    add(&text, "\n");
    const stage_list_string_t *lines = &setting(context, "lines")->val.list;
    for (size_t i = 0; i < lines->len; i++) {
        add(&text, "  ");
        add_string(&text, &lines->ptr[i]);
        add(&text, "\n");
    }
    const stage_string_t *board = &context->project.board;
    for (size_t i = 0; i < context->board_traits.len; i++)
        if (is(&context->board_traits.ptr[i].f0, "title"))
            board = &context->board_traits.ptr[i].f1;
    add_string(&text, &context->project.hostname);
    add(&text, " on ");
    add_string(&text, board);
    add(&text, " (");
    add_string(&text, &context->project.os);
    add(&text, " ");
    add_string(&text, &context->project.release);
    add(&text, ")\n");
    for (size_t i = 0; i < context->stages.len; i++) {
        const pib_stage_types_stage_ref_t *stage = &context->stages.ptr[i];
        if (same(&stage->name, &context->this_.name) && same(&stage->version, &context->this_.version))
            continue;
        add(&text, "with ");
        add_string(&text, &stage->name);
        add(&text, " ");
        add_string(&text, &stage->version);
        add(&text, "\n");
    }

    text_t line = {0};
    add(&line, "a text of ");
    add_number(&line, text.len);
    add(&line, " bytes");
    stage_string_t told = string_of(&line);
    pib_stage_host_log(PIB_STAGE_HOST_LEVEL_INFO, &told);

    text_t whole = {0};
    add(&whole, "# For ");
    add_string(&whole, &context->project.name);
    add(&whole, ".\n");
    add_string(&whole, part);
    rendered->part = string_of(&whole);
    rendered->files.ptr = malloc(sizeof *rendered->files.ptr);
    if (!rendered->files.ptr)
        abort();
    rendered->files.len = 1;
    rendered->files.ptr[0].path = copy("motd");
    rendered->files.ptr[0].content.ptr = text.ptr;
    rendered->files.ptr[0].content.len = text.len;
    rendered->files.ptr[0].executable = false;
    return true;
}
