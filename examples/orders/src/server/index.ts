export type { Order } from "./order-book.ts";
export { type Shop, type ShopOptions, startShop } from "./shop.ts";
