// Cohere's SDK for JavaScript, the clients of its first and its second version.

import { CohereClient, CohereClientV2 } from "cohere-ai";

const ranked = (answer) => answer.results.map((r) => [r.index, r.relevanceScore]);

const fields = ({ model, query, documents, top_n }) => ({
  model,
  query,
  documents,
  topN: top_n ?? undefined,
});

export async function v2(request) {
  const client = new CohereClientV2({ token: request.key, environment: request.url });
  return ranked(await client.rerank(fields(request)));
}

export async function v1(request) {
  const client = new CohereClient({ token: request.key, environment: request.url });
  return ranked(await client.rerank(fields(request)));
}

// With all that the first version had: fields to rank by, chunks, documents returned.
export async function v1Fields(request) {
  const client = new CohereClient({ token: request.key, environment: request.url });
  return ranked(
    await client.rerank({
      ...fields(request),
      documents: request.documents.map((text) => ({ text, source: "elsewhere" })),
      rankFields: ["text"],
      maxChunksPerDoc: 10,
      returnDocuments: true,
    }),
  );
}
