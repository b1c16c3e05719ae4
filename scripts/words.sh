#!/bin/sh
# Lists where words that docs/glossary.md replaces still stand in prose: documents, comments, texts in
# quotes (logs, errors, help) and test names. A list to read, not a gate: the exit code is 0.
#
#   scripts/words.sh                 everything
#   scripts/words.sh told look-up    these words only
#
# WHERE=docs|comments|texts|tests limits the list to one kind of prose. Words with a note in parentheses in
# the glossary depend on their context and are left out, and so is everything between backticks.
set -eu
cd "$(dirname "$0")/.."

glossary=docs/glossary.md
list=$(mktemp)
trap 'rm -f "$list"' EXIT

# One line for each word: the word, a tab, and what to write instead. Tables with four columns have the
# replaced words in the third one, tables with two in the second one.
words() {
    awk -F '|' '
        /^\|/ && !/^\|-/ && !/^\| (Term|Write) / {
            replaced = (NF >= 6) ? $4 : $3
            term = $2
            gsub(/^ +| +$/, "", term)
            count = split(replaced, each, ",")
            for (i = 1; i <= count; i++) {
                word = each[i]
                gsub(/^ +| +$/, "", word)
                if (word != "" && word !~ /\(/) print tolower(word) "\t" term
            }
        }' "$glossary" | sort -u
}

if [ $# -gt 0 ]; then
    for word in "$@"; do
        words | awk -F '\t' -v word="$word" '$1 == word { print; known = 1 } END { if (!known) print word "\t?" }'
    done >"$list"
else
    words >"$list"
fi

# shellcheck disable=SC2016 # the awk program expands nothing
git ls-files -- '*.md' '*.rs' '*.toml' '*.yaml' '*.sh' '*.txt' Makefile .ci \
    ':!docs/glossary.md' ':!migrations/*.sql' ':!fuzz/seeds' ':!tests/data' ':!LICENSE' |
    xargs awk -v list="$list" -v where="${WHERE:-}" '
        BEGIN {
            while ((getline line < list) > 0) {
                split(line, field, "\t")
                word[++words] = field[1]
                term[words] = field[2]
            }
        }

        FNR == 1 { fenced = 0 }

        # Looks for each word in one piece of prose.
        function look(kind, text,    plain, i, form) {
            if (where != "" && where != kind) return
            gsub(/`[^`]*`/, " ", text)
            plain = tolower(text)
            gsub(/[^a-z0-9-]+/, " ", plain)
            plain = " " plain " "
            for (i = 1; i <= words; i++) {
                form = word[i]
                if (index(plain, " " form " ") || index(plain, " " form "s ")) {
                    gsub(/^[ \t]+|[ \t]+$/, "", text)
                    printf "%s:%d: [%s] %s -> %s: %s\n", FILENAME, FNR, kind, form, term[i], substr(text, 1, 120)
                    hits[form]++
                    total++
                }
            }
        }

        # What stands between quotes in a line of code, joined.
        function quoted(line,    all, part) {
            all = ""
            while (match(line, /"[^"]* [^"]*"/)) {
                part = substr(line, RSTART + 1, RLENGTH - 2)
                all = all " " part
                line = substr(line, RSTART + RLENGTH)
            }
            return all
        }

        FILENAME ~ /\.(md|txt)$/ {
            if ($0 ~ /^```/) { fenced = !fenced; next }
            if (!fenced) look("docs", $0)
            next
        }

        FILENAME ~ /\.rs$/ {
            if (match($0, /^[ \t]*\/\/[\/!]?/)) {
                look("comments", substr($0, RLENGTH + 1))
            } else if (match($0, /fn [a-z0-9_]+\(\)/)) {
                name = substr($0, RSTART + 3, RLENGTH - 5)
                if (FILENAME ~ /tests/ || attribute ~ /test/) { gsub(/_/, " ", name); look("tests", name) }
            } else {
                look("texts", quoted($0))
            }
            attribute = ($0 ~ /#\[/) ? $0 : ""
            next
        }

        # Everything else: comments, and the summaries of alerts.
        {
            if (match($0, /(^|[ \t])#+ /)) look("comments", substr($0, RSTART + RLENGTH))
            else if ($0 ~ /summary:|description:/) look("texts", $0)
        }

        END {
            for (form in hits) printf "%6d  %s\n", hits[form], form | "sort -rn"
            close("sort -rn")
            printf "%6d  in all\n", total
        }'
