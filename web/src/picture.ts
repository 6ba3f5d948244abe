// Pictures from files, as data: URIs that the server takes.
import type { Picture } from './store';

const taken = ['image/png', 'image/jpeg', 'image/webp'];
const most_bytes = 3 << 20, most_side = 2048;  // larger ones are made smaller here

const read = (file: Blob) => new Promise<string>((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(String(reader.result));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

// Throws in words.
export async function picture_of(file: File): Promise<Picture> {
  const name = file.name || 'picture';
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`“${name}” is no picture that this browser can read.`);
  }
  const { width, height } = bitmap;
  if (taken.includes(file.type) && file.size <= most_bytes)
    return { uri: await read(file), name, width, height };
  const shrink = Math.min(1, most_side / Math.max(width, height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(width * shrink));
  canvas.height = Math.max(1, Math.round(height * shrink));
  canvas.getContext('2d')!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const uri = file.type === 'image/jpeg' ? canvas.toDataURL('image/jpeg', 0.92) : canvas.toDataURL('image/png');
  return { uri, name, width: canvas.width, height: canvas.height };
}

export const picture_files = (data: DataTransfer | null) =>
  [...(data?.files ?? [])].filter(file => file.type.startsWith('image/'));
