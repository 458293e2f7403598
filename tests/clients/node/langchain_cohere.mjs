// LangChain's compressor over Cohere's SDK for JavaScript.

import { CohereRerank } from "@langchain/cohere";
import { CohereClient } from "cohere-ai";

export async function rerank({ url, key, model, query, documents, top_n }) {
  const client = new CohereClient({ token: key, environment: url });
  const compressor = new CohereRerank({ client, model, topN: top_n ?? documents.length });
  const found = await compressor.rerank(documents, query);
  return found.map((r) => [r.index, r.relevanceScore]);
}
