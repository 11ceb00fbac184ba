#!/bin/sh
# Makes the certificates in this folder, each with its key, of kinds that the exporter does not support, and that the tools of the
# Rust tests cannot make: for the listener server-*.pem, and for clients client-*.pem, signed by the authorities in authorities.pem.
# Run it once more only if a kind is added.
set -eu
cd "$(dirname "$0")"
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
days=36500

key() { # NAME ALGORITHM [OPTION]...
    name=$1; algorithm=$2; shift 2
    openssl genpkey -algorithm "$algorithm" "$@" -out "$made/$name.key" 2>/dev/null
}

self() { # NAME PREFIX BASIC_CONSTRAINTS
    openssl req -x509 -key "$made/$1.key" -subj "/CN=$1" -days $days -out "$made/$1.pem" \
        -addext subjectAltName=DNS:localhost -addext "basicConstraints=critical,$2"
}

key P-521 EC -pkeyopt ec_paramgen_curve:P-521
key Ed448 ED448
key RSA-PSS RSA-PSS -pkeyopt rsa_keygen_bits:2048
key RSA-1024 RSA -pkeyopt rsa_keygen_bits:1024
key P-256 EC -pkeyopt ec_paramgen_curve:P-256
key leaf EC -pkeyopt ec_paramgen_curve:P-256

for kind in P-521 Ed448 RSA-PSS RSA-1024; do
    self $kind CA:FALSE
    cat "$made/$kind.key" "$made/$kind.pem" > server-$kind.pem
done

: > authorities.pem
for kind in P-521 Ed448 RSA-PSS RSA-1024 P-256; do
    self $kind CA:TRUE
    cat "$made/$kind.pem" >> authorities.pem
done
client() { # NAME ISSUER [OPTION]...
    name=$1; issuer=$2; shift 2
    openssl req -new -key "$made/leaf.key" -subj "/CN=$name" -out "$made/request"
    openssl x509 -req -in "$made/request" -CA "$made/$issuer.pem" -CAkey "$made/$issuer.key" -CAserial "$made/serial" \
        -CAcreateserial -days $days "$@" -out "$made/certificate" 2>/dev/null
    cat "$made/leaf.key" "$made/certificate" > "client-$name.pem"
}
echo "extendedKeyUsage=clientAuth" > "$made/extensions"
for kind in P-521 Ed448 RSA-PSS RSA-1024; do client $kind $kind -extfile "$made/extensions"; done
client SHA-512 P-256 -sha512 -extfile "$made/extensions"
client SHA-1 P-256 -sha1 -extfile "$made/extensions"
client version-1 P-256
cp client-version-1.pem server-version-1.pem
