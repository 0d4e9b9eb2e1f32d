// Tokens and what was done with them, as the server tells them.
import { ask } from "./client";
import { api } from "./paths";
import { refresh } from "./use";

export interface TokenView {
  id: string;
  name: string;
  scopes: string[];
  created: string;
  expires: string | null;
  last_used: string | null;
  access_key_id: string | null;
  /** The installation's own, which cannot be revoked. */
  own: boolean;
}

export interface TokenList {
  tokens: TokenView[];
}

export interface TokenWrite {
  name: string;
  scopes: string[];
  expires_in?: string;
  aws?: boolean;
}

export interface TokenMade {
  token: TokenView;
  /** Shown this once. */
  secret: string;
  aws: { access_key_id: string; secret_access_key: string } | null;
}

export async function makeToken(write: TokenWrite): Promise<TokenMade> {
  const made = await ask<TokenMade>(api.tokens, { method: "POST", body: write });
  await refresh(api.tokens);
  return made;
}

export async function revokeToken(id: string): Promise<void> {
  await ask(api.token(id), { method: "DELETE" });
  await refresh(api.tokens);
}

export interface AuditRecord {
  seq: number;
  at: string;
  token: string | null;
  by: string | null;
  ip: string | null;
  action: string;
  object: string | null;
  status: number;
  code: string | null;
  hash: string;
}

export interface AuditList {
  /** Newest first. */
  records: AuditRecord[];
}
