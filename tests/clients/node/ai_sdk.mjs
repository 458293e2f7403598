// The AI SDK's `rerank`, one function for each provider.

import { createCohere } from "@ai-sdk/cohere";
import { createTogetherAI } from "@ai-sdk/togetherai";
import { createVoyage } from "@ai-sdk/voyage";
import { rerank } from "ai";

async function ranked(create, { url, key, model, query, documents, top_n }) {
  const provider = create({ baseURL: url, apiKey: key });
  const reranker = provider.rerankingModel(model);
  const { ranking } = await rerank({
    model: reranker,
    query,
    documents,
    topN: top_n ?? undefined,
  });
  return ranking.map((r) => [r.originalIndex, r.score]);
}

export const cohere = (request) => ranked(createCohere, request);
export const togetherai = (request) => ranked(createTogetherAI, request);
export const voyage = (request) => ranked(createVoyage, request);
