/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one file that includes toml++. It parses, copies the tree into plain nodes and gives the
 * library's tree back at once; no exception leaves it.
 */
#include "base/toml.h"

extern "C" {
#include "base/bump.h"
}

#define TOML_MAX_NESTED_VALUES 16
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#define COMPONENT "base.toml"

struct aegis_toml {
    aegis_bump bump;
    aegis_toml_node root;
};

namespace
{

/* The library frees nested tables by recursion and does not bound dotted keys; a line with more
 * dots than this is refused, which bounds the depth to a few thousand. */
constexpr size_t MAX_DOTS_IN_A_LINE = 256;
constexpr int MAX_DEPTH = 32;

struct refusal : std::runtime_error {
    toml::source_position at;
    refusal(toml::source_position place, const char *what) : std::runtime_error(what), at(place)
    {
    }
};

struct copier {
    aegis_bump *bump;

    void *take(size_t count, size_t size)
    {
        void *block = aegis_bump_take(bump, count, size);
        if (block == nullptr) {
            throw std::bad_alloc();
        }
        return block;
    }

    const char *text(std::string_view view, toml::source_position at)
    {
        if (view.find('\0') != std::string_view::npos) {
            throw refusal(at, "the text holds a NUL character");
        }
        char *copy = static_cast<char *>(take(view.size() + 1, 1));
        std::memcpy(copy, view.data(), view.size());
        return copy;
    }

    void table(const toml::table &from, aegis_toml_node &to, int depth)
    {
        auto *children =
            static_cast<aegis_toml_node *>(take(from.size(), sizeof(aegis_toml_node)));
        size_t count = 0;
        for (auto &&[key, value] : from) {
            aegis_toml_node &child = children[count++];
            auto at = key.source().begin;
            node(value, child, depth + 1);
            child.key = text(key.str(), at);
            child.key_line = static_cast<int>(at.line);
            child.key_column = static_cast<int>(at.column);
        }
        std::sort(children, children + count, [](const auto &a, const auto &b) {
            return a.key_line != b.key_line ? a.key_line < b.key_line : a.key_column < b.key_column;
        });
        to.children = children;
        to.child_count = count;
    }

    void array(const toml::array &from, aegis_toml_node &to, int depth)
    {
        auto *children =
            static_cast<aegis_toml_node *>(take(from.size(), sizeof(aegis_toml_node)));
        size_t count = 0;
        for (auto &&value : from) {
            node(value, children[count++], depth + 1);
        }
        to.children = children;
        to.child_count = count;
    }

    void node(const toml::node &from, aegis_toml_node &to, int depth)
    {
        auto at = from.source().begin;
        if (depth > MAX_DEPTH) {
            throw refusal(at, "tables are nested too deeply");
        }
        to.line = to.key_line = static_cast<int>(at.line);
        to.column = to.key_column = static_cast<int>(at.column);
        switch (from.type()) {
        case toml::node_type::table:
            to.kind = AEGIS_TOML_TABLE;
            table(*from.as_table(), to, depth);
            break;
        case toml::node_type::array:
            to.kind = AEGIS_TOML_ARRAY;
            array(*from.as_array(), to, depth);
            break;
        case toml::node_type::string:
            to.kind = AEGIS_TOML_STRING;
            to.value.text = text(from.as_string()->get(), at);
            break;
        case toml::node_type::integer:
            to.kind = AEGIS_TOML_INTEGER;
            to.value.integer = from.as_integer()->get();
            break;
        case toml::node_type::floating_point:
            to.kind = AEGIS_TOML_FLOAT;
            to.value.number = from.as_floating_point()->get();
            break;
        case toml::node_type::boolean:
            to.kind = AEGIS_TOML_BOOLEAN;
            to.value.boolean = from.as_boolean()->get();
            break;
        case toml::node_type::date:
        case toml::node_type::time:
        case toml::node_type::date_time:
        case toml::node_type::none:
            to.kind = AEGIS_TOML_TIME;
            break;
        }
    }
};

/* Line number of the first line with too many dots, 0 when there is none. */
int overlong_line(std::string_view text)
{
    size_t dots = 0;
    int line = 1;
    for (char c : text) {
        if (c == '\n') {
            line++;
            dots = 0;
        } else if (c == '.' && ++dots > MAX_DOTS_IN_A_LINE) {
            return line;
        }
    }
    return 0;
}

aegis_status no_memory(const char *origin, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "%s: no memory to parse it", origin);
}

aegis_status refuse(
    const char *origin, toml::source_position at, const char *what, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE, "%s:%u:%u: %s", origin,
                           static_cast<unsigned>(at.line), static_cast<unsigned>(at.column), what);
}

aegis_status fill(aegis_toml *document, std::string_view text, const char *origin, aegis_error *err)
try {
    toml::table tree = toml::parse(text);
    copier{&document->bump}.node(tree, document->root, 0);
    document->root.line = document->root.key_line = 1;
    document->root.column = document->root.key_column = 1;
    return AEGIS_OK;
} catch (const toml::parse_error &error) {
    return refuse(origin, error.source().begin, error.what(), err);
} catch (const refusal &error) {
    return refuse(origin, error.at, error.what(), err);
} catch (const std::bad_alloc &) {
    return no_memory(origin, err);
} catch (const std::exception &error) {
    return refuse(origin, {1, 1}, error.what(), err);
}

} // namespace

aegis_status aegis_toml_parse(const char *text,
                              size_t size,
                              const char *origin,
                              const aegis_allocator *allocator,
                              aegis_toml **ret_document,
                              aegis_error *err)
{
    if (size > AEGIS_TOML_MAX_BYTES) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s: has %zu bytes, more than the %u that are read here", origin,
                               size, static_cast<unsigned>(AEGIS_TOML_MAX_BYTES));
    }
    std::string_view view(text, size);
    int line = overlong_line(view);
    if (line != 0) {
        return refuse(origin, {static_cast<toml::source_index>(line), 1},
                      "more dots in one line than are read here", err);
    }
    auto *document =
        static_cast<aegis_toml *>(aegis_allocate_zeroed(allocator, 1, sizeof(aegis_toml)));
    if (document == nullptr) {
        return no_memory(origin, err);
    }
    aegis_bump_init(&document->bump, allocator);
    aegis_status status = fill(document, view, origin, err);
    if (status != AEGIS_OK) {
        aegis_toml_free(document);
        return status;
    }
    *ret_document = document;
    return AEGIS_OK;
}

void aegis_toml_free(aegis_toml *document)
{
    if (document != nullptr) {
        aegis_allocator allocator = document->bump.allocator;
        aegis_bump_finish(&document->bump);
        aegis_deallocate(&allocator, document, 1, sizeof *document);
    }
}

const aegis_toml_node *aegis_toml_root(const aegis_toml *document)
{
    return &document->root;
}

const aegis_toml_node *aegis_toml_find(const aegis_toml_node *table, const char *key)
{
    for (size_t i = 0; i < table->child_count; i++) {
        if (std::strcmp(table->children[i].key, key) == 0) {
            return &table->children[i];
        }
    }
    return nullptr;
}

const char *aegis_toml_kind_name(aegis_toml_kind kind)
{
    switch (kind) {
    case AEGIS_TOML_TABLE:
        return "a table";
    case AEGIS_TOML_ARRAY:
        return "an array";
    case AEGIS_TOML_STRING:
        return "a string";
    case AEGIS_TOML_INTEGER:
        return "an integer";
    case AEGIS_TOML_FLOAT:
        return "a number with a fraction";
    case AEGIS_TOML_BOOLEAN:
        return "a boolean";
    case AEGIS_TOML_TIME:
        return "a date or time";
    }
    return "something else";
}
