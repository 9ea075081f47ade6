// Reads a JSON list of {kind: 'select' | 'expr', text} and writes a list with, for each, what PostHog's parser says:
// {error} or {texts, fields, placeholders}: the constants that are texts, the names, and what is left to be filled in.
const create = require('@posthog/hogql-parser')

function walk(node, found) {
    if (Array.isArray(node)) {
        for (const part of node) walk(part, found)
    } else if (node !== null && typeof node === 'object') {
        if (node.node === 'Constant' && typeof node.value === 'string') found.texts.push(node.value)
        if (node.node === 'Field') found.fields.push(node.chain.join('.'))
        if (node.node === 'Placeholder') found.placeholders.push(node.expr.chain.join('.'))
        for (const part of Object.values(node)) walk(part, found)
    }
    return found
}

async function main() {
    const chunks = []
    for await (const chunk of process.stdin) chunks.push(chunk)
    const parser = await create()
    const answers = JSON.parse(Buffer.concat(chunks).toString('utf8')).map(({ kind, text }) => {
        const parsed = JSON.parse(kind === 'expr' ? parser.parseExpr(text, true) : parser.parseSelect(text, true))
        return parsed.error ? { error: `${parsed.type}: ${parsed.message}` } : walk(parsed, { texts: [], fields: [], placeholders: [] })
    })
    process.stdout.write(JSON.stringify(answers))
}

main().catch((error) => {
    console.error(error)
    process.exit(1)
})
