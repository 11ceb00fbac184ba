#!/usr/bin/env bash
# One would guess that openmetrics-parser, a strict Rust parser of both formats, takes a family whose samples have different labels:
# neither format asks for the same label names in each sample, and the Python parser takes them.
# What happens: the second set of names is an error for the whole page. So is a family without samples, and in OpenMetrics a page
# without families, which is "# EOF" alone.
# Who meets it: programs in Rust that read exporters with a label for some samples only, such as the status code of those that have one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "finding"
edition = "2021"
[dependencies]
openmetrics-parser = "=0.5.1"
END
cat > "$folder/src/main.rs" <<'END'
use openmetrics_parser::openmetrics::parse_openmetrics;

fn main() {
    for page in [
        "# TYPE x gauge\nx{a=\"1\"} 1\nx{a=\"2\"} 2\n# EOF\n",
        "# TYPE x gauge\nx{a=\"1\"} 1\nx{a=\"2\",b=\"3\"} 2\n# EOF\n",
        "# TYPE x gauge\n# TYPE y gauge\ny 1\n# EOF\n",
        "# EOF\n",
    ] {
        let words = match parse_openmetrics(page) {
            Ok(read) => format!("{} families", read.families.len()),
            Err(error) => format!("{error:?}"),
        };
        println!("{page:?}: {words}");
    }
}
END
echo "openmetrics-parser 0.5.1:"
found=$(cargo run --quiet --manifest-path "$folder/Cargo.toml")
echo "$found"
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check prometheus-client==0.26.0
echo "prometheus_client 0.26.0, given the second, third and fourth:"
"$folder/python/bin/python" - <<'END'
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

pages = '# TYPE x gauge\nx{a="1"} 1\nx{a="2",b="3"} 2\n# EOF\n', "# TYPE x gauge\n# TYPE y gauge\ny 1\n# EOF\n", "# EOF\n"
read = [len(list(parse(page))) for page in pages]
print(*read, "families")
assert read == [1, 2, 0]
END
[ "$(echo "$found" | grep -c ' 1 families')" = 1 ]
echo "$found" | grep -q "different label sets"
echo "$found" | grep -q "Invalid metric name in family"
echo "$found" | grep -q "ParseError"
