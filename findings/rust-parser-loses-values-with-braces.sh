#!/usr/bin/env bash
# One would guess that prometheus-parse, a Rust parser of text 0.0.4, either reads a line or returns an error.
# What happens: a sample with a closing brace in a label value does not match its pattern of a sample, and is left out without an
# error. The samples around it are there.
# Who meets it: programs in Rust that read the metrics of a web framework, whose routes look like "/users/{id}".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "finding"
edition = "2021"
[dependencies]
prometheus-parse = "=0.2.5"
END
cat > "$folder/src/main.rs" <<'END'
fn main() {
    let lines = ["# TYPE x gauge", r#"x{route="/users"} 1"#, r#"x{route="/users/{id}"} 2"#, r#"x{route="/"} 3"#];
    let read = prometheus_parse::Scrape::parse(lines.iter().map(|line| Ok(line.to_string())));
    for sample in read.expect("no error").samples {
        println!("{} {} {:?}", sample.metric, sample.labels, sample.value);
    }
}
END
echo "prometheus-parse 0.2.5, given x = 1, 2 and 3 with different labels:"
found=$(cargo run --quiet --manifest-path "$folder/Cargo.toml")
echo "$found"
[ "$(echo "$found" | grep -o 'Gauge.*' | tr '\n' ' ')" = "Gauge(1.0) Gauge(3.0) " ]
