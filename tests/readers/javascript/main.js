// Prints what parse-prometheus-text-format makes of the page at the URL.
const parse = require("parse-prometheus-text-format");

fetch(process.argv[2])
    .then((response) => response.text())
    .then((text) => console.log(JSON.stringify(parse(text))))
    .catch((error) => { console.error(error.message); process.exit(1); });
